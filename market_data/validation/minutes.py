"""Judging intraday bars: which of them lie in regular hours and may be stored, and whether the batch is refused.

The rules are those of daily bars as far as they mean something for minutes, under names of their own, so that what is
said of a session's minutes is not taken for a word on its daily bar.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.records import Rejection
from market_data.schemas import BAR_FIELDS
from market_data.sessions import session_hours, sessions_between
from market_data.validation.batch import Thresholds
from market_data.validation.frames import Dates, Found, Mask, counted, day_text, findings_frame
from market_data.validation.rules import OHLC_TOLERANCE

__all__ = ["INTRADAY_RULES", "MinuteVerdict", "validate_minutes"]

INTRADAY_RULES: dict[str, str] = {
    "intraday_duplicate": "warning",
    "intraday_log_return": "warning",
    "intraday_negative": "error",
    "intraday_null": "warning",
    "intraday_off_session": "info",
    "intraday_ohlc": "warning",
    "intraday_rejected": "error",
    "intraday_zero_price": "error",
}
"""Severity of each rule. A finding is about a session, not about each of its bars."""

_PRICES = ("open", "high", "low", "close", "vwap")


@dataclass(frozen=True, slots=True)
class MinuteVerdict:
    """What validation says of the intraday bars of one answer.

    Attributes:
        bars: those to store, ascending: `RawIntradayBars` columns and `session_date` (`datetime64[s]`); empty when the
            batch is rejected.
        findings: `FINDING_COLUMNS`, one row for a rule and session.
        rows_received: bars of the sessions asked for.
        off_session, nulls, duplicates: bars of these that are left out, by reason: outside of regular hours, without
            one of the five fields, or of an instant that another bar has.
        null_share: share of the bars in regular hours with a null among the five fields.
        rejection: why the batch is refused as a whole; None when `bars` may be stored, or when there are none.
    """

    bars: pd.DataFrame
    findings: pd.DataFrame
    rows_received: int
    off_session: int
    nulls: int
    duplicates: int
    null_share: float
    rejection: Rejection | None


def validate_minutes(bars: pd.DataFrame, start: date, end: date, minutes: int, limits: Thresholds) -> MinuteVerdict:
    """Judge intraday bars of one symbol.

    Args:
        bars: a `RawIntradayBars` frame.
        start, end: sessions asked for, both inclusive; bars of other dates are dropped without a word.
        minutes: length of a bar. One that begins before the opening and ends after it counts from the opening: hourly
            bars go by the clock, and an archive's first one holds nothing from before.
    """
    days = _days(bars)
    asked = bars[(days >= np.datetime64(start)) & (days <= np.datetime64(end))].reset_index(drop=True)
    days = _days(asked)
    opens, regular = _hours(asked, days, minutes)
    inside, days_inside = _from_opening(asked[regular], opens[regular]), days[regular]
    null = _any(inside[list(BAR_FIELDS)].isna().to_numpy())
    negative = _any(inside[[*_PRICES, "volume", "trade_count"]].to_numpy(dtype=float) < 0)
    zero = _any(inside[list(_PRICES)].to_numpy(dtype=float) == 0)
    usable: Mask = ~(null | negative | zero)
    kept = usable & ~_doubled(inside, usable)
    rejection = _rejection(null, negative, days_inside, limits.null_threshold)
    stored = inside[kept].assign(session_date=days_inside[kept]).reset_index(drop=True)
    blocks = [
        _by_session("intraday_off_session", days, ~regular, "outside of regular hours; not stored"),
        _by_session("intraday_null", days_inside, null, "with null fields; not stored"),
        _by_session("intraday_negative", days_inside, negative, "with a negative value"),
        _by_session("intraday_zero_price", days_inside, zero, "with a price of zero; not stored"),
        _by_session("intraday_duplicate", days_inside, usable & ~kept, "of an instant given twice; not stored"),
        _by_session("intraday_ohlc", days_inside[kept], _unbounded(stored), "whose high or low does not bound it"),
        _log_return(stored, limits.log_return_limit),
        _refused(rejection, start),
    ]
    return MinuteVerdict(
        bars=stored.iloc[:0] if rejection else stored,
        findings=findings_frame(blocks, INTRADAY_RULES),
        rows_received=len(asked),
        off_session=int((~regular).sum()),
        nulls=int(null.sum()),
        duplicates=int((usable & ~kept).sum()),
        null_share=float(null.mean()) if len(null) else 0.0,
        rejection=rejection,
    )


def _days(bars: pd.DataFrame) -> Dates:
    local = bars["datetime"].dt.tz_convert("America/New_York").dt.tz_localize(None)
    days: Dates = local.to_numpy().astype("datetime64[D]").astype("datetime64[s]")
    return days


def _hours(bars: pd.DataFrame, days: Dates, minutes: int) -> tuple[Dates, Mask]:
    """Opening of the session on each bar's date (UTC; NaT for none), and whether the bar lies in its regular hours."""
    opens, closes = (np.full(len(bars), np.datetime64("NaT", "s")) for _ in range(2))
    found = np.unique(days)
    if len(found):
        low, high = (day.astype("datetime64[D]").item() for day in (found[0], found[-1]))
        found = found[np.isin(found, sessions_between(low, high).to_numpy())]
    for day in found:
        hours = session_hours(day.astype("datetime64[D]").item())
        opens[days == day], closes[days == day] = (
            np.datetime64(instant.replace(tzinfo=None), "s") for instant in hours
        )
    starts = _starts(bars)
    regular: Mask = (starts < closes) & (starts + np.timedelta64(minutes, "m") > opens)
    return opens, regular


def _starts(bars: pd.DataFrame) -> Dates:
    starts: Dates = bars["datetime"].dt.tz_localize(None).to_numpy().astype("datetime64[s]")
    return starts


def _from_opening(bars: pd.DataFrame, opens: Dates) -> pd.DataFrame:
    """The bars, none of them beginning before its session's opening."""
    starts = _starts(bars)
    if not (starts < opens).any():
        return bars.reset_index(drop=True)
    later = pd.Series(np.maximum(starts, opens).astype("datetime64[us]")).dt.tz_localize("UTC")
    return bars.assign(datetime=later.array).reset_index(drop=True)


def _doubled(bars: pd.DataFrame, usable: Mask) -> Mask:
    """Of usable bars of one instant all but the last."""
    twice = np.zeros(len(bars), dtype=bool)
    twice[usable] = bars["datetime"][usable].duplicated(keep="last").to_numpy()
    return twice


def _any(of_fields: npt.NDArray[np.bool_]) -> Mask:
    """Whether anything is true of a bar, shape (bars,), of a mask with a column a field."""
    mask: Mask = np.any(of_fields, axis=1)
    return mask


def _unbounded(bars: pd.DataFrame) -> Mask:
    prices = bars[["open", "close"]].to_numpy()
    high, low = bars[["high"]].to_numpy(), bars[["low"]].to_numpy()
    slack = OHLC_TOLERANCE * high
    return _any((prices > high + slack) | (prices < low - slack) | (high < low))


def _log_return(bars: pd.DataFrame, limit: float) -> Found:
    """Sessions with a close further from that of the bar before, in logs, than the limit; value is the farthest."""
    days, closes = bars["session_date"].to_numpy(), bars["close"].to_numpy(dtype=float)
    moves = np.abs(np.diff(np.log(closes)))
    moves[days[1:] != days[:-1]] = 0.0  # from session to session is a matter of the daily bars
    far = pd.Series(moves).groupby(days[1:]).max() if len(moves) else pd.Series(dtype=float)
    far = far[far > limit]
    found = far.index.to_numpy().astype("datetime64[s]")
    messages = [f"close moves by {value:.3f} in logs from one bar to the next" for value in far]
    return Found.at("intraday_log_return", found, far.to_numpy(), limit, messages=messages, fields="close")


def _by_session(rule: str, days: Dates, found: Mask, what: str) -> Found:
    sessions, count = np.unique(days[found], return_counts=True)
    messages = [f"{counted(int(number), 'bar')} {what}" for number in count]
    return Found.at(rule, sessions.astype("datetime64[s]"), count, 0, messages=messages)


def _rejection(null: Mask, negative: Mask, days: Dates, limit: float) -> Rejection | None:
    if negative.any():
        number, first = int(negative.sum()), day_text(days[negative][:1])[0]
        reason = (
            f"{counted(number, 'bar')} with a negative price, volume or trade count (first {first}); none is allowed"
        )
        return Rejection("intraday_negative", reason, float(number), 0.0)
    share = float(null.mean()) if len(null) else 0.0
    if share > limit:
        reason = (
            f"{int(null.sum()):,} of {counted(len(null), 'bar')} ({share:.1%}) with null fields, more than the "
            f"{limit:.1%} allowed (first {day_text(days[null][:1])[0]})"
        )
        return Rejection("intraday_null", reason, share, limit)
    return None


def _refused(rejection: Rejection | None, start: date) -> Found:
    """The rejection as a finding. It stands at the first session asked for: one without a date would be of all bars."""
    days = np.array([start] if rejection else [], dtype="datetime64[s]")
    value, limit, told = (rejection.value, rejection.limit, [rejection.reason]) if rejection else (0.0, 0.0, [])
    return Found.at("intraday_rejected", days, value, limit, messages=told)
