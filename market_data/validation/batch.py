"""Judging one vendor's answer for one symbol: which bars are stored, and what is to be said of each session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.records import Basis, ParsedBars, Rejection
from market_data.settings import Settings
from market_data.validation import rules
from market_data.validation.dividend_repairs import dividend_units, misdated_dividends
from market_data.validation.frames import Bars, Dates, Found, Mask, counted, day_text, findings_frame
from market_data.validation.presence import Gap, Span, gaps, of_one_security, one_a_session, unexpected
from market_data.validation.repairs import moves, splits, unit_errors
from market_data.validation.score import Tally, batch_score

__all__ = ["BatchContext", "BatchVerdict", "Thresholds", "validate"]

_SEVERITIES = {name: rule.severity for name, rule in rules.RULES.items()}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits of validation; `Settings` says what each means."""

    min_data_quality: float = 0.6
    null_threshold: float = 0.05
    log_return_limit: float = 0.5
    stale_sessions: int = 5
    volume_outlier_limit: float = 12.0

    @classmethod
    def of(cls, settings: Settings) -> Thresholds:
        """The limits that `settings` holds."""
        return cls(
            min_data_quality=settings.min_data_quality,
            null_threshold=settings.null_threshold,
            log_return_limit=settings.log_return_limit,
            stale_sessions=settings.stale_sessions,
            volume_outlier_limit=settings.volume_outlier_limit,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchContext:
    """What was asked for, against which the answer is judged.

    Attributes:
        expected: sessions of the instrument that the request covers and that were complete when it was fetched;
            ascending, `datetime64[s]`, without a session left out between the first and the last.
        start, end: the span asked for, both inclusive; bars outside of it are dropped without a word.
        start_is_known: whether bars are surely due from the first expected session on.
        listed_from: the instrument's first session, when certain.
        listed_by: a date on which it surely was listed already.
        complete_until: the last session that was complete when the bars were fetched.
    """

    symbol: str
    expected: pd.DatetimeIndex
    start: date
    end: date
    start_is_known: bool
    listed_from: date | None
    complete_until: date
    thresholds: Thresholds
    listed_by: date | None = None


@dataclass(frozen=True, slots=True)
class BatchVerdict:
    """What validation says of an answer.

    Attributes:
        bars: a `DailyPrices` frame, the rows to store as they came; empty when the batch is rejected.
        quality: a `QualityLog` frame, a row for each expected session; where the first bar defines the span, none
            for the sessions before it.
        findings: `FINDING_COLUMNS`, sorted by date, rule and field; date is NaT for the whole batch, field empty for
            the whole bar.
        score: 0 to 1, see `batch_score`.
        null_share: share of the bars on expected sessions (one a session) with a null among the five fields.
        sessions_missing: sessions in `quality` without a bar that could be stored.
        rows_received: rows of the answer within the span asked for.
        rejection: why the batch is refused; None when `bars` may be stored, or when no bar came at all.
    """

    bars: pd.DataFrame
    quality: pd.DataFrame
    findings: pd.DataFrame
    score: float
    null_share: float
    sessions_missing: int
    rows_received: int
    rejection: Rejection | None


def validate(parsed: ParsedBars, context: BatchContext) -> BatchVerdict:
    """Judge a parsed answer.

    Args:
        parsed: what the parser made of it; its `bars` must satisfy `RawBars`, its `actions` `CorporateActions`.

    Raises:
        SettingsError: a bar within the span lies outside the known XNYS calendar.
    """
    span, limits = _span(context), context.thresholds
    received = Bars.of(parsed.bars).within(context.start, context.end)
    is_due = _is_among(received.date, span.expected)
    own, reused = of_one_security(received.take(is_due), span)
    bars, doubled = one_a_session(own)
    usable = rules.usable(bars)
    about_bars = [doubled, *_judge(bars, usable, parsed, limits)]
    proposals = _proposals(bars.take(usable), parsed)

    at = np.searchsorted(span.expected, bars.date)
    had_bar, stored = _mask(len(span.expected), at), _mask(len(span.expected), at[usable])
    lost = gaps(span, had_bar, stored)
    tally = _tally(span.expected, [*about_bars, *proposals], lost)
    scores = tally.scores(stored)
    score = batch_score(scores, stored)
    counting = [*about_bars, *(gap.found for gap in lost if gap.found.rule == "missing_session")]
    rejection = _rejection(counting, len(bars), score, limits)

    due = _due(lost, len(span.expected))
    refused = had_bar if rejection else np.zeros_like(had_bar)
    # Nothing of a refused batch is stored, so its sessions are worth as little as missing ones.
    quality = tally.quality(span.expected, np.where(refused, 0.0, scores), stored, refused)
    about_sessions = [reused, *(gap.found for gap in lost), *unexpected(received.date[~is_due], span)]
    return BatchVerdict(
        bars=parsed.bars.iloc[[] if rejection else bars.row[usable]].reset_index(drop=True),
        quality=quality if due.all() else quality[due].reset_index(drop=True),
        findings=findings_frame([*about_bars, *proposals, *about_sessions], _SEVERITIES),
        score=score,
        null_share=_share_of_nulls(about_bars, len(bars)),
        sessions_missing=int((due & ~stored).sum()),
        rows_received=len(received),
        rejection=rejection,
    )


def _span(context: BatchContext) -> Span:
    return Span(
        start=context.start,
        end=context.end,
        expected=context.expected.to_numpy().astype("datetime64[s]"),
        start_is_known=context.start_is_known,
        listed_from=context.listed_from,
        complete_until=context.complete_until,
        listed_by=context.listed_by,
    )


def _is_among(dates: Dates, sessions: Dates) -> Mask:
    place = np.searchsorted(sessions, dates)
    found: Mask = np.append(sessions, np.datetime64("NaT", "s"))[place] == dates
    return found


def _share_of_nulls(blocks: list[Found], bars: int) -> float:
    return next(len(found) for found in blocks if found.rule == "null") / max(bars, 1)


def _mask(size: int, at: npt.NDArray[np.intp]) -> Mask:
    mask = np.zeros(size, dtype=bool)
    mask[at] = True
    return mask


def _judge(bars: Bars, usable: Mask, parsed: ParsedBars, limits: Thresholds) -> list[Found]:
    """What each bar says: all of them by their values, the usable ones also beside each other."""
    stored = bars.take(usable)
    return [
        rules.null(bars),
        rules.zero_price(bars),
        rules.negative_price(bars),
        rules.negative_volume(bars),
        rules.ohlc(stored),
        rules.log_return(stored, parsed.actions, parsed.basis, limits.log_return_limit),
        rules.stale_run(stored, limits.stale_sessions),
        rules.volume_outlier(stored, limits.volume_outlier_limit),
    ]


def _proposals(stored: Bars, parsed: ParsedBars) -> list[Found]:
    """What should be mended; it has no weight, and the bars stay as they came."""
    found = moves(stored, parsed.actions, parsed.basis)
    proposals = [unit_errors(found), *splits(found)]
    if not found.dividend.any() or parsed.basis is Basis.SPLIT_DIVIDEND:
        return proposals
    return [*proposals, misdated_dividends(found), dividend_units(found)]


def _tally(expected: Dates, about_bars: list[Found], lost: list[Gap]) -> Tally:
    tally = Tally(len(expected))
    for found in filter(len, about_bars):
        tally.mark(found.rule, np.searchsorted(expected, found.date))
    for gap in lost:
        tally.mark(gap.found.rule, gap.sessions)
    return tally


def _due(lost: list[Gap], size: int) -> Mask:
    due = np.ones(size, dtype=bool)
    for gap in lost:
        if not gap.is_due:
            due &= ~gap.sessions
    return due


def _rejection(blocks: list[Found], bars: int, score: float, limits: Thresholds) -> Rejection | None:
    """The first reason to refuse the batch, in the order: negative prices, negative volumes, nulls, score.

    Args:
        blocks: what was found about sessions that count in the score.
        bars: number of bars on expected sessions, one a session; without any there is nothing to refuse.
    """
    if not bars:
        return None
    found = {block.rule: block for block in blocks}
    nulls = found["null"]
    if len(found["negative_price"]):
        return _negative(found["negative_price"], "price")
    if len(found["negative_volume"]):
        return _negative(found["negative_volume"], "volume or trade count")
    if len(nulls) / bars > limits.null_threshold:
        return _too_many_nulls(nulls, bars, limits.null_threshold)
    if score < limits.min_data_quality:
        return _low_score(blocks, score, limits.min_data_quality)
    return None


def _negative(found: Found, what: str) -> Rejection:
    number = len(found)
    first, fields, value = day_text(found.date[:1])[0], found.field[0], found.value[0]
    reason = f"{counted(number, 'bar')} with a negative {what} (first {first}, {fields} {value:g}); none is allowed"
    return Rejection(found.rule, reason, float(number), 0.0)


def _too_many_nulls(found: Found, bars: int, limit: float) -> Rejection:
    number, share = len(found), len(found) / bars
    first, fields = day_text(found.date[:1])[0], found.field[0]
    reason = (
        f"{number:,} of {counted(bars, 'bar')} ({share:.1%}) with null fields, more than the {limit:.1%} allowed "
        f"(first {first}, {fields})"
    )
    return Rejection(found.rule, reason, share, limit)


def _low_score(blocks: list[Found], score: float, limit: float) -> Rejection:
    causes = sorted((found for found in blocks if len(found)), key=lambda found: (-len(found), found.rule))
    first = min(found.date.min() for found in causes)
    told = ", ".join(f"{found.rule} {len(found):,}" for found in causes)
    reason = f"score {score:.3f} is below {limit:g}: {told} (first {np.datetime_as_string(first, 'D')})"
    return Rejection("score", reason, score, limit)
