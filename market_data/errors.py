"""Errors of the project: each names the value, the place and the mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from market_data.records import RawPayload


class MarketDataError(Exception):
    """Base of every error a user can meet; its text is fit to be shown without a traceback."""


class SettingsError(MarketDataError):
    """A setting has a value that is not allowed."""


class SymbolError(MarketDataError):
    """A symbol is malformed or not in the universe."""


class UniverseError(MarketDataError):
    """The instruments file cannot be used."""


class ArchiveError(MarketDataError):
    """A bulk archive cannot be read, or is not one."""


class RawStoreError(MarketDataError):
    """A stored payload is missing, or its bytes no longer match its SHA-256."""


class WarehouseError(MarketDataError):
    """The canonical database cannot be used as asked; nothing was changed."""


class WarehouseLocked(WarehouseError):
    """Another process held the database for longer than the configured patience."""


class ProviderError(MarketDataError):
    """A provider did not give usable bars.

    Attributes:
        retryable: whether the same request may succeed when sent again soon.
        attempts: calls sent before giving up; 0 when none was needed to know.
        payload: the vendor's last answer, where one came that is not to be parsed (429, 5xx after every retry).
    """

    retryable = False
    attempts: int = 0
    payload: RawPayload | None = None


class Transient(ProviderError):
    """A transport failure, or a status (408, 5xx) that may pass."""

    retryable = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(ProviderError):
    """Too many requests for now.

    Attributes:
        retry_after: seconds the vendor asked to wait, where it said so.
    """

    retryable = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QuotaExhausted(ProviderError):
    """The vendor's quota is spent until its next reset."""


class LeftAlone(ProviderError):
    """The vendor is closed for a while; the request was not sent, or not sent again."""


class OutOfWindow(ProviderError):
    """The requested window lies outside what the vendor or the plan reaches."""


class UnknownSymbol(ProviderError):
    """The vendor knows no such instrument, or has no bars at all for it."""


class NotEntitled(ProviderError):
    """The key, the plan or the vendor's access control does not allow the request."""


class BadPayload(ProviderError):
    """The body is not what the wire format promises; it never becomes bars."""
