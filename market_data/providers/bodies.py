"""What every parser of JSON bodies begins with: a bounded decode, and the errors that a bare status means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from market_data.errors import BadPayload, NotEntitled, ProviderError, RateLimited, Transient, UnknownSymbol

__all__ = ["MAX_BODY", "Answer", "error_of_status", "json_object", "shown"]

MAX_BODY = 64 * 1024 * 1024
"""Largest body, decoded, that is taken, in bytes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a parser is told of a body besides its bytes.

    Attributes:
        symbol: canonical symbol the body is for.
        ticker: the vendor's spelling of it.
        interval: "1d", "1m" and the like.
        status: HTTP status.
        content_type, url: as received; None when not known.
        fetched_at: instant (UTC) of the download; None when not known.
    """

    symbol: str
    ticker: str
    interval: str = "1d"
    status: int = 200
    content_type: str | None = None
    url: str | None = None
    fetched_at: datetime | None = None


def json_object(body: bytes, symbol: str) -> dict[str, Any]:
    """The JSON object a body is; numbers that are not finite are refused, and so is deep nesting.

    Raises:
        BadPayload: the body is no JSON, or no object; the message shows how it begins.
    """
    try:
        document = from_json(body.removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=False)
    except (ValueError, RecursionError) as error:
        raise BadPayload(f"{symbol}: not JSON ({str(error)[:120]}): {shown(body)}") from None
    if not isinstance(document, dict):
        raise BadPayload(f"{symbol}: a JSON object was due: {shown(body)}")
    return document


def error_of_status(status: int, message: str) -> ProviderError:
    """The error a status alone means (RFC 9110); a vendor's body may say more."""
    if status == 429:
        return RateLimited(message)
    if status == 408 or status >= 500:
        return Transient(message)
    if status in (401, 403):
        return NotEntitled(message)
    return UnknownSymbol(message) if status == 404 else BadPayload(message)


def shown(body: bytes) -> str:
    """The first line of a body, cut and quoted, for a message."""
    lines = body[:160].decode("utf-8", "replace").splitlines()
    return repr(lines[0][:120] if lines else "")
