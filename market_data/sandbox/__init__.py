"""A synthetic market behind a real HTTP server on loopback.

`market` makes the numbers, `defects` plants known faults in them, `wire` writes a vendor's bytes, `server` answers
requests. Nothing here is market data: every response says so.
"""
