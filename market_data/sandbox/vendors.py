"""The vendors whose wire formats the sandbox speaks."""

from __future__ import annotations

__all__ = ["KEY_PARAMETERS", "VENDORS"]

VENDORS = ("polygon", "alpha_vantage", "yahoo", "stooq")
"""Their names; each is served below `/{name}`."""

KEY_PARAMETERS = {"polygon": "apiKey", "alpha_vantage": "apikey", "stooq": "apikey"}
"""Query parameter of the key, by vendor that has keys."""
