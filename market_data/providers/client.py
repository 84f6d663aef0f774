"""What the vendors' clients have in common."""

from __future__ import annotations

from datetime import date

from market_data.instruments import Instrument
from market_data.providers.base import Clock, utc_now
from market_data.providers.config import ProviderConfig
from market_data.providers.http import HttpSource
from market_data.records import FetchRequest
from market_data.sessions import last_completed_session

__all__ = ["VendorClient"]


class VendorClient:
    """A client over one HTTP source; its `fetch` is the vendor's own.

    Args:
        config: what the vendor allows in the tier in use.
        http: the HTTP source, its base URL ending where the vendor's documented paths begin.
        key: the API key; None where there is none.
        synthetic: whether the server makes its data up.
    """

    def __init__(
        self,
        config: ProviderConfig,
        http: HttpSource,
        *,
        key: str | None = None,
        synthetic: bool = False,
        clock: Clock = utc_now,
    ) -> None:
        self.name = config.name
        self.synthetic = synthetic
        self._config = config
        self._http = http
        self._key = key
        self._clock = clock

    def serves(self, instrument: Instrument) -> bool:
        """Every US instrument may be asked for."""
        return True

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _first_daily(self, request: FetchRequest) -> date:
        """The request's start, or the first date the tier serves daily bars of, when that is later."""
        first = self._config.first_reachable(last_completed_session(self._clock()))
        return max(request.start, first or request.start)
