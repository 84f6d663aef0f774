"""A synthetic market behind a real HTTP server on loopback.

`market` (with `minutes`) makes the numbers, `defects` plants known ones that are wrong, `served` holds them as they are
served, `wire` writes a vendor's bytes, `endpoints` says what a vendor answers to what, `faults` and `refusals` make it
fail on demand, `calls` counts, `application` and `server` speak HTTP. Nothing here is market data: every response says
so.
"""
