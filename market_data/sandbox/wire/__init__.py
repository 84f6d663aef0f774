"""Vendors' bytes from frames of bars: pure functions, one module a vendor.

A frame of daily bars has the columns date (`datetime64[s]`), open, high, low, close and volume (`float64`), as
`market_data.sandbox.market` makes them; one of minutes has datetime (UTC) besides.
"""

from market_data.sandbox.wire.stooq import NO_DATA, stooq_ascii, stooq_csv

__all__ = ["NO_DATA", "stooq_ascii", "stooq_csv"]
