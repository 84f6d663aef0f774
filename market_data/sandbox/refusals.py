"""What is answered instead of data: each vendor's own words for a fault, a limit or a key."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from functools import cache

from market_data.sandbox.call import Answer, Call
from market_data.sandbox.wire import alpha_vantage, polygon, stooq, yahoo

__all__ = ["BOMB_SIZE", "ELSEWHERE", "key_refusal", "polygon_error", "refusal"]

ELSEWHERE = "http://elsewhere.invalid"
"""A host that exists nowhere (RFC 6761); it must never be asked."""

BOMB_SIZE = 128 * 1024 * 1024
"""Bytes the body of a `bomb` inflates to."""

_PAGE = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body><h1>We'll be right back</h1></body></html>"


def refusal(call: Call, kind: str, value: float | None = None) -> Answer:
    """The answer to a call that a fault of this kind falls on.

    Args:
        kind: one of `FAULT_KINDS` that replaces the data, but for `outage`, which has no answer.
    """
    if kind in ("rate_limit", "quota", "unauthorized"):
        return _OWN_WORDS[call.vendor](call, kind, value)
    if kind == "server_error":
        return Answer(b"Service Unavailable", int(value or 503), "text/plain", is_error=True)
    if kind == "redirect":
        return Answer(b"", 302, "text/html", (("Location", f"{ELSEWHERE}{call.path}"),), is_error=True)
    if kind == "bomb":
        return Answer(_bomb(), 200, "application/json", (("Content-Encoding", "gzip"),), is_error=True)
    return Answer(stooq.ACCESS_CHECK if kind == "access_check" else _PAGE, 200, "text/html", is_error=True)


def key_refusal(call: Call, valid_keys: Mapping[str, Collection[str]]) -> Answer | None:
    """The answer to a call whose key is missing, or not among those the vendor was told; None where it is good."""
    valid = valid_keys.get(call.vendor)
    if call.vendor in ("polygon", "alpha_vantage") and not call.key:
        return polygon_error(call, "missing_key") if call.vendor == "polygon" else _told(alpha_vantage.MISSING_KEY)
    if valid is None or call.key in valid:
        return None
    if call.vendor == "polygon":
        return polygon_error(call, "unknown_key")
    if call.vendor == "alpha_vantage":
        return _told(alpha_vantage.MISSING_KEY)
    return Answer(stooq.APIKEY_GATE, content_type="text/plain", is_error=True)


def polygon_error(call: Call, name: str) -> Answer:
    """One of Polygon's errors."""
    status, body = polygon.error(name, call.request_id)
    return Answer(body, status, is_error=True)


def _polygon(call: Call, kind: str, value: float | None) -> Answer:
    if kind == "unauthorized":
        return polygon_error(call, "unknown_key" if value == 401 else "not_entitled")
    status, body = polygon.error("rate_limit", call.request_id)
    return Answer(body, status, headers=_retry_after(kind, value), is_error=True)


def _alpha_vantage(call: Call, kind: str, value: float | None) -> Answer:
    if kind == "quota":
        return _told(alpha_vantage.key_limit(call.key))
    return _told(alpha_vantage.PREMIUM if kind == "unauthorized" else alpha_vantage.BURST_LIMIT)


def _yahoo(call: Call, kind: str, value: float | None) -> Answer:
    if kind == "unauthorized":
        return Answer(yahoo.UNAUTHORIZED, int(value or 401), is_error=True)
    return Answer(yahoo.TOO_MANY_REQUESTS, 429, "text/plain", _retry_after(kind, value), is_error=True)


def _stooq(call: Call, kind: str, value: float | None) -> Answer:
    body = stooq.APIKEY_GATE if kind == "unauthorized" else stooq.DAILY_LIMIT
    return Answer(body, content_type="text/plain", is_error=True)


_OWN_WORDS = {"polygon": _polygon, "alpha_vantage": _alpha_vantage, "yahoo": _yahoo, "stooq": _stooq}


def _told(body: bytes) -> Answer:
    return Answer(body, is_error=True)


def _retry_after(kind: str, value: float | None) -> tuple[tuple[str, str], ...]:
    return (("Retry-After", f"{value:.0f}"),) if kind == "rate_limit" and value is not None else ()


@cache
def _bomb() -> bytes:
    deflate = zlib.compressobj(level=1, wbits=31)
    block = b" " * (1024 * 1024)
    parts = [deflate.compress(block) for _ in range(BOMB_SIZE // len(block))]
    return b"".join([*parts, deflate.flush()])
