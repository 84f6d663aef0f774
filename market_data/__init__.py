"""market_data: a canonical, audited store of US equity prices."""

__version__ = "0.1.0"
