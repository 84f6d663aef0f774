"""A synthetic market behind a real HTTP server on loopback.

`market` (with `simulation`, `minutes` and `adjusting`) makes the numbers, `defects` plants known ones that are wrong,
`timeline` (with `pace`) tells what of the market exists at an instant, `served` holds it as it is served, `wire` writes
a vendor's bytes, `endpoints` says what a vendor answers to what, `faults`, `altering` and `refusals` make it fail on
demand, `calls` counts, `application`, `listening` and `server` speak HTTP. Nothing here is market data: every response
says so.
"""
