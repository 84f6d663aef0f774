"""What each vendor answers to a call: one module a vendor, each with its `ENDPOINTS`."""

from market_data.sandbox.endpoints.alpha_vantage import ENDPOINTS as ALPHA_VANTAGE
from market_data.sandbox.endpoints.base import Endpoint
from market_data.sandbox.endpoints.polygon import ENDPOINTS as POLYGON
from market_data.sandbox.endpoints.stooq import ENDPOINTS as STOOQ
from market_data.sandbox.endpoints.yahoo import ENDPOINTS as YAHOO

__all__ = ["ENDPOINTS", "Endpoint"]

ENDPOINTS = (*POLYGON, *ALPHA_VANTAGE, *YAHOO, *STOOQ)
"""Every endpoint of every vendor."""
