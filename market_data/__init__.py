"""market_data: a canonical, audited store of US equity prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from market_data.reading import load
    from market_data.reading_features import load_features

__all__ = ["__version__", "load", "load_features"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Reading needs pandas and DuckDB, which whoever imports the package for something else should not pay for.
    if name == "load":
        from market_data.reading import load

        return load
    if name == "load_features":
        from market_data.reading_features import load_features

        return load_features
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
