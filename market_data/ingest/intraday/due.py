"""Which minutes of a session are still to be asked for, symbol by symbol."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from market_data.ingest.intraday.reading import ANSWERED, ReadPoll
from market_data.sessions import session_hours
from market_data.warehouse.batch import naive_utc

__all__ = ["LATE", "MinutesDue", "expected_minutes"]

LATE = timedelta(minutes=5)
"""Age from which a minute that an answer leaves out, though it has later ones, is taken for one without a trade. It is
asked for once more after the close."""

_MINUTE = np.timedelta64(1, "m")


def expected_minutes(session: date) -> int:
    """Minutes of the session's regular hours: 390, or 210 of a half day."""
    opens, closes = session_hours(session)
    return int((closes - opens) / timedelta(minutes=1))


class MinutesDue:
    """The minutes of one session, and what is known of each of some symbols.

    Args:
        held: the minutes stored, as `held_minutes` gives them.
    """

    def __init__(self, session: date, symbols: Sequence[str], held: pd.DataFrame) -> None:
        self.symbols = list(symbols)
        self._opens = np.datetime64(naive_utc(session_hours(session)[0]), "us")
        self._index = pd.Index(self.symbols)
        shape = (len(self.symbols), expected_minutes(session))
        self._final = np.zeros(shape, dtype=bool)
        self._given_up = np.zeros(shape, dtype=bool)
        self._provisional = np.zeros(shape, dtype=bool)
        self._mark(held)

    def since(self, now: datetime) -> dict[str, datetime]:
        """For each symbol with a minute that is over and not final, the start of the first of them."""
        over = self._over(now)
        if not over:
            return {}
        done = (self._final | self._given_up)[:, :over]
        firsts = done.argmin(axis=1).tolist()
        wholes = np.logical_and.reduce(done, axis=1).tolist()
        return {
            symbol: self._instant(first)
            for symbol, first, is_whole in zip(self.symbols, firsts, wholes, strict=True)
            if not is_whole
        }

    def unfinished(self) -> dict[str, datetime]:
        """For each symbol that lacks a final minute of the session, the session's open."""
        wholes = np.logical_and.reduce(self._final, axis=1).tolist()
        return {symbol: self._instant(0) for symbol, is_whole in zip(self.symbols, wholes, strict=True) if not is_whole}

    def note(self, read: ReadPoll) -> None:
        """Note what a poll brought."""
        self._mark(read.bars)
        self._give_up(read)

    def missing(self, symbol: str) -> list[datetime]:
        """The minutes of a symbol of which no bar is held, ascending, UTC."""
        row = self.symbols.index(symbol)
        return [self._instant(int(place)) for place in np.flatnonzero(~(self._final[row] | self._provisional[row]))]

    def held(self, symbol: str) -> tuple[int, int]:
        """Bars held of a symbol, and how many of them are provisional."""
        row = self.symbols.index(symbol)
        provisional = int(self._provisional[row].sum())
        return int(self._final[row].sum()) + provisional, provisional

    def _mark(self, bars: pd.DataFrame) -> None:
        times = bars["datetime"]
        if isinstance(times.dtype, pd.DatetimeTZDtype):
            times = times.dt.tz_localize(None)
        minutes = (times.to_numpy().astype("datetime64[us]") - self._opens) // _MINUTE
        rows = self._index.get_indexer(pd.Index(bars["symbol"]))
        known = (rows >= 0) & (minutes >= 0) & (minutes < self._final.shape[1])
        rows, minutes = rows[known], minutes[known]
        final = ~bars["provisional"].to_numpy(dtype=bool)[known]
        self._final[rows[final], minutes[final]] = True
        self._provisional[rows[~final], minutes[~final]] = True
        self._provisional &= ~self._final

    def _give_up(self, read: ReadPoll) -> None:
        """Minutes older than `LATE` that an answer passes over will not come by asking again."""
        last = self._last_final(read.bars)
        for asked, outcome in zip(read.poll.asked, read.outcomes, strict=True):
            if outcome != ANSWERED or asked.payload is None or asked.request.since is None or asked.symbol not in last:
                continue
            begin = self._place(asked.request.since)
            end = min(last[asked.symbol], self._place(asked.payload.fetched_at - LATE))
            if end > begin:
                self._given_up[self._index.get_loc(asked.symbol), max(0, begin) : end] = True

    def _last_final(self, bars: pd.DataFrame) -> dict[Any, int]:
        """By symbol the place of the last final bar."""
        final = bars[~bars["provisional"].to_numpy(dtype=bool)]
        minutes = (final["datetime"].dt.tz_localize(None).to_numpy() - self._opens) // _MINUTE
        known = self._index.isin(final["symbol"])
        last = pd.Series(minutes.astype(np.int64)).groupby(final["symbol"].to_numpy()).max()
        return {symbol: int(last[symbol]) for symbol in self._index[known]}

    def _over(self, now: datetime) -> int:
        return max(0, min(self._place(now), self._final.shape[1]))

    def _place(self, moment: datetime) -> int:
        return int((np.datetime64(naive_utc(moment), "us") - self._opens) // _MINUTE)

    def _instant(self, place: int) -> datetime:
        moment: datetime = (self._opens + place * _MINUTE).astype("datetime64[us]").item()
        return moment.replace(tzinfo=UTC)
