"""Bars turned to raw, as they were traded, by the corporate actions that are known; and again when more are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd

from market_data.adjustments import AdjustmentError, Converted, dividends_applied_until, to_raw
from market_data.corporate_actions import is_told
from market_data.ingest.raw_store import RawStore
from market_data.ingest.unit import parse_payload
from market_data.instruments import Instrument
from market_data.records import Basis, ParsedBars, StoredPayload
from market_data.warehouse.actions import read_actions, read_told
from market_data.warehouse.batch import BatchWrite, Factors
from market_data.warehouse.holdings import adjusted_payloads, last_word_on_actions
from market_data.warehouse.upsert import upsert

__all__ = ["AsStored", "as_raw", "as_stored", "earliest_change", "reconvert"]

_EXCHANGE = ZoneInfo("America/New_York")

_VOLUME_BASIS = {"stooq": Basis.SPLIT_DIVIDEND, "stooq_bulk": Basis.SPLIT_DIVIDEND}
"""What volumes are adjusted for where that is not splits: measured on Stooq's own files, see `adjustments.to_raw`."""

_SPINOFFS_MOVE_VOLUME = ("yahoo",)
"""Vendors that list a spin-off as a split, and treat volumes so too."""


@dataclass(frozen=True, slots=True)
class AsStored:
    """Bars as they go into the store.

    Attributes:
        bars: a `DailyPrices` frame.
        factors: by what they became raw; None where they are as they were sent.
        known_at: since when they are known so, where that is later than the payload's receipt.
        why_not: why they are not raw; None when they are.
    """

    bars: pd.DataFrame
    factors: Factors | None
    known_at: datetime | None = None
    why_not: str | None = None


def as_raw(
    bars: pd.DataFrame, parsed: ParsedBars, stored: StoredPayload, actions: pd.DataFrame, told: pd.DataFrame
) -> Converted | None:
    """Bars of a payload turned to raw; None where not every action between its window and its download is known.

    Whether they can be depends on the payload, not on which of its bars are given.

    Args:
        bars: some of the payload's bars, one a session, ascending.
        actions, told: what is known of the symbol, as `read_actions` and `read_told` give it.

    Raises:
        AdjustmentError: the actions do not fit the bars.
    """
    if parsed.basis is Basis.RAW or not len(bars):
        return Converted(bars, np.ones(len(bars)), np.ones(len(bars)))
    as_of = _as_of(parsed)
    if as_of is None or _untold(parsed, stored, as_of, told):
        return None
    # The close before a dividend may be one that is not stored: of a session beyond the window, for instance.
    others = parsed.bars[~parsed.bars["date"].isin(bars["date"])].drop_duplicates("date")
    whole = pd.concat([bars, others[bars.columns]]) if len(others) else bars
    whole = whole.sort_values("date", ignore_index=True) if len(others) else whole
    known = actions[["date", "kind", "value"]]
    # Stooq applies dividends late or never; its closes tell.
    until = dividends_applied_until(whole, known, as_of=as_of) if parsed.basis is Basis.SPLIT_DIVIDEND else None
    converted = to_raw(
        whole,
        known,
        parsed.basis,
        as_of=as_of,
        dividends_as_of=until,
        volume_basis=_VOLUME_BASIS.get(stored.provider, Basis.SPLIT),
        spinoffs_move_volume=stored.provider in _SPINOFFS_MOVE_VOLUME,
    )
    return _of_dates(converted, bars["date"]) if len(others) else converted


def as_stored(
    bars: pd.DataFrame, parsed: ParsedBars, stored: StoredPayload, actions: pd.DataFrame, told: pd.DataFrame
) -> AsStored:
    """Bars as they are to be stored: raw where they can be, else as they were sent, with the reason.

    Arguments as for `as_raw`.
    """
    try:
        raw = as_raw(bars, parsed, stored, actions, told)
        why_not = None if raw else _why_not(parsed, stored, told)
    except AdjustmentError as error:
        raw, why_not = None, f"adjusted for actions that do not fit them ({error})"
    if raw is None:
        return AsStored(bars, None, why_not=why_not)
    factors = Factors(raw.price_factor, raw.volume_factor)
    return AsStored(raw.bars, factors, known_at=_known_at(bars, parsed, stored, actions))


def earliest_change(before: pd.DataFrame, after: pd.DataFrame) -> date | None:
    """The earliest ex-date at which two lists of a symbol's actions differ; None where they are the same."""
    columns = ["date", "kind", "value"]
    differing = pd.concat([before[columns], after[columns]]).drop_duplicates(keep=False)
    return differing["date"].min().date() if len(differing) else None


def reconvert(
    connection: duckdb.DuckDBPyConnection,
    raw_store: RawStore,
    instruments: Mapping[str, Instrument],
    symbol: str,
    *,
    now: datetime,
    since: date | None = None,
) -> int:
    """Turn a symbol's bars that came adjusted to raw anew, by the actions known now; call it inside `transaction`.

    Bars that change leave their predecessor in `revisions`; the payloads are read from the raw store.

    Args:
        since: earliest ex-date of what has changed; only payloads that came after it, and bars that are not raw yet,
            are looked at. None for all.

    Returns:
        The number of bars that changed.

    Raises:
        RawStoreError, ProviderError: a payload of stored bars is missing, damaged, or no longer parsed.
    """
    payloads = adjusted_payloads(connection, symbol, since)
    if not payloads:
        return 0
    actions, told = read_actions(connection, [symbol])[symbol], read_told(connection, [symbol])[symbol]
    changed = 0
    for stored, dates in payloads:
        parsed = parse_payload(stored, raw_store.get(stored.sha256), instruments[symbol])
        changed += _rewrite(connection, symbol, stored, parsed, dates, actions=actions, told=told, now=now)
    return changed


def _rewrite(
    connection: duckdb.DuckDBPyConnection,
    symbol: str,
    stored: StoredPayload,
    parsed: ParsedBars,
    dates: pd.DatetimeIndex,
    *,
    actions: pd.DataFrame,
    told: pd.DataFrame,
    now: datetime,
) -> int:
    # Where a payload has a session twice, validation kept the most complete bar, then the last.
    bars = parsed.bars[parsed.bars["date"].isin(dates)]
    twice = bars["date"].duplicated(keep=False)
    if twice.any():
        filled = bars.notna().sum(axis=1)
        bars = bars.assign(filled=filled).sort_values(["date", "filled"], kind="stable").drop(columns="filled")
        bars = bars.drop_duplicates("date", keep="last")
    stays = as_stored(bars.reset_index(drop=True), parsed, stored, actions, told)
    news = last_word_on_actions(connection, symbol)
    known_at, replaced_by = max(news, (stored.fetched_at, stored.sha256)) if news else (None, None)
    batch = BatchWrite(
        symbol=symbol,
        job_id="",
        stored=stored,
        basis=parsed.basis,
        adjusted_as_of=parsed.adjusted_as_of,
        bars=stays.bars,
        quality=pd.DataFrame(),
        findings=pd.DataFrame(),
        now=now,
        factors=stays.factors,
        known_at=known_at,
        reason="actions",
        replaced_by=replaced_by,
    )
    counts = upsert(connection, batch)
    if stays.why_not is None:
        connection.execute(
            "DELETE FROM quality_findings WHERE symbol = ? AND raw_hash = ? AND rule = 'adjusted_basis'",
            [symbol, stored.sha256],
        )
    return counts.updated


def _as_of(parsed: ParsedBars) -> date | None:
    """The last ex-date the vendor can have applied: New York's date at the download, or the last bar's if later.

    A bulk file's instant is the midnight (UTC) of its last bar, which is the evening before in New York.
    """
    if parsed.adjusted_as_of is None:
        return None
    until: date = parsed.adjusted_as_of.astimezone(_EXCHANGE).date()
    return max(until, parsed.bars["date"].iloc[-1].date()) if len(parsed.bars) else until


def _kinds(basis: Basis) -> tuple[str, ...]:
    return ("split",) if basis is Basis.SPLIT else ("split", "dividend")


def _untold(parsed: ParsedBars, stored: StoredPayload, as_of: date, told: pd.DataFrame) -> list[str]:
    """Kinds of actions of which not all between the payload's window and its download are known."""
    first = _first(parsed, stored)
    return [kind for kind in _kinds(parsed.basis) if first <= as_of and not is_told(told, kind, first, as_of)]


def _first(parsed: ParsedBars, stored: StoredPayload) -> date:
    """The day after the first bar asked for: no action before it matters."""
    dates = parsed.bars["date"].to_numpy()
    place = int(dates.searchsorted(np.datetime64(stored.request.start)))
    first: date = dates[place].astype("datetime64[D]").item() if place < len(dates) else stored.request.start
    return first + timedelta(days=1)


def _why_not(parsed: ParsedBars, stored: StoredPayload, told: pd.DataFrame) -> str:
    as_of = _as_of(parsed)
    if as_of is None:
        return "adjusted as of an unknown date"
    kinds = " and ".join(f"{kind}s" for kind in _untold(parsed, stored, as_of, told))
    first = _first(parsed, stored)
    return f"adjusted as of {as_of}, and not every one of the {kinds} of {first} to {as_of} is known"


def _known_at(bars: pd.DataFrame, parsed: ParsedBars, stored: StoredPayload, actions: pd.DataFrame) -> datetime | None:
    """When the last of the actions applied became known, if that was after the payload came."""
    if parsed.basis is Basis.RAW or not len(bars):
        return None
    as_of = pd.Timestamp(_as_of(parsed) or stored.fetched_at.date())
    applied = actions[(actions["date"] > bars["date"].iloc[0]) & (actions["date"] <= as_of)]
    last = applied["known_at"].max() if len(applied) else pd.NaT
    if pd.isna(last):
        return None
    moment: datetime = last.to_pydatetime().replace(tzinfo=UTC)
    return moment if moment > stored.fetched_at else None


def _of_dates(converted: Converted, dates: pd.Series) -> Converted:
    at = np.searchsorted(converted.bars["date"].to_numpy(), dates.to_numpy())
    return Converted(
        converted.bars.iloc[at].reset_index(drop=True), converted.price_factor[at], converted.volume_factor[at]
    )
