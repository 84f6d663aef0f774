"""Stooq: `GET /q/d/l/?s=aapl.us&d1=YYYYMMDD&d2=YYYYMMDD&i=d[&apikey=]`; a session's bar comes after its close."""

from __future__ import annotations

import re
from datetime import date

import numpy as np

from market_data.records import Basis
from market_data.sandbox.altering import altered
from market_data.sandbox.call import Answer, Call
from market_data.sandbox.endpoints.base import Endpoint
from market_data.sandbox.served import ServedMarket, between
from market_data.sandbox.wire.stooq import NO_DATA, stooq_csv

__all__ = ["ENDPOINTS"]

_DATE = re.compile(r"\d{8}", re.ASCII)


def _daily(served: ServedMarket, call: Call) -> Answer:
    try:
        first, last = (_date(call.query.get(name, "")) for name in ("d1", "d2"))
    except ValueError:
        return _nothing()
    if call.symbol is None or call.query.get("i", "d") != "d":
        return _nothing()
    bars = between(served.bars(call.symbol, Basis.SPLIT_DIVIDEND), first, last)
    if bars.empty:
        return _nothing()
    return Answer(stooq_csv(altered(bars, call.faults, served, call.symbol)), content_type="text/csv")


def _nothing() -> Answer:
    return Answer(NO_DATA, content_type="text/csv", is_error=True)


def _date(text: str) -> np.datetime64 | None:
    if not text:
        return None
    if not _DATE.fullmatch(text):
        raise ValueError(f"not a date as in 20210119: {text!r}")
    return np.datetime64(date.fromisoformat(text), "s")


ENDPOINTS = (Endpoint("stooq", "/q/d/l/", lambda parts, query: query.get("s", "").strip(), _daily),)
"""The endpoints of the vendor."""
