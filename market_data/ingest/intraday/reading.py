"""What a poll's answers say: one frame of minutes for all symbols, and what became of each request.

Pure: the same poll, just made or read back from its pack, gives the same frame.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.errors import BadPayload, ProviderError, UnknownSymbol
from market_data.ingest.intraday.packs import Asked, Poll
from market_data.instruments import Universe
from market_data.providers import POINT_IN_TIME_TICKERS, polygon, yahoo
from market_data.providers.bodies import Answer
from market_data.providers.minutes import MinuteColumns
from market_data.records import Basis
from market_data.sessions import session_hours
from market_data.warehouse.batch import naive_utc
from market_data.warehouse.intraday import refusals

__all__ = ["ANSWERED", "EMPTY", "INTERVAL", "ReadPoll", "read_answer", "read_poll"]

_LOG = logging.getLogger(__name__)
_NEW_YORK = ZoneInfo("America/New_York")

INTERVAL = "1m"
ANSWERED, EMPTY = "answered", "empty"
PARSERS: Mapping[str, Callable[[bytes, Answer], MinuteColumns]] = {
    "polygon": polygon.parse_minutes,
    "yahoo": yahoo.parse_minutes,
}
"""The parsers of the vendors that can be asked for the newest minutes alone."""

_NUMBERS = ("open", "high", "low", "close", "volume", "vwap", "trade_count")
_MINUTE = np.timedelta64(1, "m")


@dataclass(frozen=True, slots=True)
class ReadPoll:
    """A poll, read.

    Attributes:
        bars: the minutes that can be stored, with the columns of `IntradayWrite.bars`.
        refused: those that cannot: symbol, datetime (naive UTC), source_provider, why.
        outcomes: for each request of the poll `ANSWERED`, `EMPTY`, or the kind of its error.
        errors: for each request the error its body means, None where it means none or none came.
    """

    poll: Poll
    bars: pd.DataFrame
    refused: pd.DataFrame
    outcomes: tuple[str, ...]
    errors: tuple[ProviderError | None, ...]

    def by_outcome(self, provider: str) -> Counter[str]:
        """How many of the provider's requests ended in which way."""
        pairs = zip(self.poll.asked, self.outcomes, strict=True)
        return Counter(outcome for asked, outcome in pairs if asked.provider == provider)


def read_answer(asked: Asked, universe: Universe, session: date) -> MinuteColumns:
    """Parse the answer to one request.

    Raises:
        ProviderError: it holds no minutes; its class says why.
    """
    payload = asked.payload
    assert payload is not None
    instrument = universe[asked.symbol]
    answer = Answer(
        symbol=asked.symbol,
        ticker=instrument.ticker(asked.provider, session, point_in_time=asked.provider in POINT_IN_TIME_TICKERS),
        interval=asked.request.interval,
        status=payload.status,
        content_type=payload.content_type,
        url=payload.url,
        fetched_at=payload.fetched_at,
    )
    if asked.provider not in PARSERS:
        raise BadPayload(f"{asked.symbol}: no parser reads minutes of {asked.provider!r}")
    return PARSERS[asked.provider](payload.body, answer)


def read_poll(poll: Poll, universe: Universe, *, settle: float) -> ReadPoll:
    """Read every answer of a poll.

    Minutes outside of the session's regular hours are passed over. A minute is provisional until `settle` seconds
    after its end. What one answer is wrong about concerns its symbol alone.

    Args:
        universe: knows every symbol of the poll that is to be read; others are passed over.
    """
    parsed: list[MinuteColumns | None] = []
    errors: list[ProviderError | None] = []
    for asked in poll.asked:
        answer, error = _parsed(asked, universe, poll.session)
        parsed.append(answer)
        errors.append(error)
    bars = _together(poll, parsed, settle)
    refused = _refused(bars)
    counts = np.bincount(bars["request"].to_numpy(dtype=np.int64), minlength=len(poll.asked))
    outcomes = tuple(
        _outcome(asked, error, int(count)) for asked, error, count in zip(poll.asked, errors, counts, strict=True)
    )
    kept = bars[refused == ""].drop(columns="request").reset_index(drop=True)
    left = bars[refused != ""]
    told = pd.DataFrame(
        {
            "symbol": left["symbol"],
            "datetime": left["datetime"].dt.tz_localize(None),
            "source_provider": left["source_provider"],
            "why": refused[refused != ""],
        }
    ).reset_index(drop=True)
    return ReadPoll(poll, kept, told, outcomes, tuple(errors))


def _parsed(asked: Asked, universe: Universe, session: date) -> tuple[MinuteColumns | None, ProviderError | None]:
    if asked.payload is None or asked.error or asked.symbol not in universe:
        return None, None
    try:
        return read_answer(asked, universe, session), None
    except ProviderError as error:
        return None, error
    # One answer's oddity, whatever it is, must not end the work on the others.
    except Exception as error:
        _LOG.exception("unexpected error", exc_info=error)
        return None, ProviderError(f"unexpected {type(error).__name__}: {error}")


def _outcome(asked: Asked, error: ProviderError | None, bars: int) -> str:
    if asked.error:
        return asked.error
    if isinstance(error, UnknownSymbol) and asked.payload is not None and asked.payload.status == 200:
        return EMPTY  # no bar since the instant asked from; the vendor's way to say so
    if error is not None:
        return type(error).__name__
    return ANSWERED if bars else EMPTY


def _together(poll: Poll, parsed: list[MinuteColumns | None], settle: float) -> pd.DataFrame:
    """The regular minutes of all answers in one frame, `request` being the place among the poll's requests."""
    found = [(place, one) for place, one in enumerate(parsed) if one is not None]
    sizes = [len(one.instants) for _, one in found]
    request = np.repeat(np.array([place for place, _ in found], dtype=np.int64), sizes)
    times = _concatenated([one.instants.astype("datetime64[us]") for _, one in found], "datetime64[us]")
    opens, closes = (np.datetime64(naive_utc(moment), "us") for moment in session_hours(poll.session))
    inside = (times >= opens) & (times < closes)
    numbers = {name: _numbers(found, name)[inside] for name in _NUMBERS}
    request, times = request[inside], times[inside]
    about = _about(poll, parsed)
    pulled_at = about["pulled_at"][request]
    return pd.DataFrame(
        {
            "request": request,
            "symbol": about["symbol"][request],
            "datetime": pd.Series(times).dt.tz_localize("UTC"),
            **numbers,
            "session_date": np.full(len(times), np.datetime64(poll.session, "s")),
            "provisional": times + _MINUTE + np.timedelta64(timedelta(seconds=settle)) > pulled_at,
            "basis": about["basis"][request],
            "adjusted_as_of": about["adjusted_as_of"][request],
            "source_provider": about["provider"][request],
            "raw_hash": about["sha256"][request],
            "pulled_at": pulled_at,
        }
    )


def _about(poll: Poll, parsed: list[MinuteColumns | None]) -> Mapping[str, npt.NDArray[Any]]:
    """What is the same for all bars of a request, one element a request."""
    payloads = [asked.payload for asked in poll.asked]
    bases = [_basis(one, poll.session) if one is not None else (Basis.RAW, None) for one in parsed]
    never = np.datetime64("NaT", "us")
    return {
        "symbol": np.array([asked.symbol for asked in poll.asked], dtype=object),
        "provider": np.array([asked.provider for asked in poll.asked], dtype=object),
        "sha256": np.array([payload.sha256 if payload else "" for payload in payloads], dtype=object),
        "pulled_at": np.array(
            [naive_utc(payload.fetched_at) if payload else never for payload in payloads], dtype="datetime64[us]"
        ),
        "basis": np.array([str(basis) for basis, _ in bases], dtype=object),
        "adjusted_as_of": np.array(
            [never if moment is None else naive_utc(moment) for _, moment in bases], dtype="datetime64[us]"
        ),
    }


def _basis(parsed: MinuteColumns, session: date) -> tuple[Basis, datetime | None]:
    """Prices adjusted up to the session's own day are raw: no action can lie between the minute and then."""
    as_of = parsed.adjusted_as_of
    if as_of is not None and as_of.astimezone(_NEW_YORK).date() == session:
        return Basis.RAW, None
    return parsed.basis, as_of


def _refused(bars: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Why each bar cannot be stored; empty text for one that can."""
    reasons = refusals(bars)
    times = bars["datetime"].dt.tz_localize(None).to_numpy()
    odd = times != times.astype("datetime64[m]")
    reasons[odd & (reasons == "")] = "does not start at a full minute"
    return reasons


def _numbers(found: list[tuple[int, MinuteColumns]], name: str) -> npt.NDArray[np.float64]:
    """A field of all answers; null where a vendor does not send it."""
    columns = [one.columns[name] if name in one.columns else np.full(len(one.instants), np.nan) for _, one in found]
    return _concatenated(columns, np.float64)


def _concatenated(arrays: list[Any], dtype: Any) -> npt.NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype=dtype)
