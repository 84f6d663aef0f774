"""What must hold of stored minutes for a span of sessions: one function a check, each with its failing rows.

As `market_data.report.checks`: these are the bodies of the Dagster asset checks, and run without Dagster as well.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

import duckdb
import pandas as pd

from market_data.report.checks import SHOWN, Check, CheckResult
from market_data.sessions import session_hours
from market_data.settings import Settings
from market_data.warehouse.intraday import INTERVALS

__all__ = [
    "AUCTION_SHARE",
    "EXTREME_SHARE",
    "GAP_SHARE",
    "INTRADAY_CHECKS",
    "LEAST_VOLUME",
    "MOST_VOLUME",
    "intraday_agreement",
    "intraday_gaps",
    "intraday_provisional",
]

GAP_SHARE = 0.05
"""Share of a session's minutes that may have no bar. A minute without a trade has none, which even a liquid name has
now and then; one that is thin beyond this is named, and may be as it should be."""

AUCTION_SHARE = 0.005
"""By which open and close may differ: the daily ones are the auctions' prices, which the minutes before and after
them need not have traded at. Half a percent is far more than the usual cent, and far less than a wrong basis."""

EXTREME_SHARE = 0.0025
"""By which high and low may differ: vendors differ in which late and odd-lot trades count, and an auction may be the
day's extreme."""

LEAST_VOLUME, MOST_VOLUME = 0.5, 1.02
"""Share of the day's volume that the minutes have: the auctions, a tenth of it and a third on days of index changes,
and trading outside of regular hours are in the day's alone. More than the day's is wrong, but for rounding."""


_HELD = """
WITH wanted AS (
    SELECT DISTINCT symbol, start_date AS date FROM ingestion_audit
    WHERE kind LIKE 'intraday%' AND outcome <> 'not_listed' AND start_date = end_date AND start_date BETWEEN ? AND ?
), bars AS (
    SELECT symbol, session_date AS date, any_value(interval) AS interval, count(*) AS held,
        list(datetime ORDER BY datetime) AS instants
    FROM price_history_intraday WHERE session_date BETWEEN ? AND ? GROUP BY symbol, session_date
)
SELECT symbol, date, coalesce(interval, '1m'), coalesce(held, 0), coalesce(instants, [])
FROM bars FULL JOIN wanted USING (symbol, date) ORDER BY date, symbol
"""


def intraday_gaps(connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings) -> CheckResult:
    """Every polled symbol has a bar of nearly every minute of the session; those with more gaps are named."""
    held = connection.execute(_HELD, [start, end, start, end]).fetchall()
    if not held:
        return CheckResult(False, 0, pd.DataFrame(), 0.0, f"no minutes are held of {start} to {end}")
    rows = pd.DataFrame([_gap(*row) for row in held])
    missing, total = int(rows["missing"].sum()), int(rows["expected"].sum())
    wide = rows[rows["share"] > GAP_SHARE]
    shown = (wide if len(wide) else rows[rows["missing"] > 0]).sort_values("share", ascending=False, kind="stable")
    text = (
        f"{missing:,} of {total:,} bars are absent ({missing / total:.2%}); "
        f"{len(wide):,} of {len(rows):,} symbols lack more than {GAP_SHARE:.0%}"
    )
    return CheckResult(not len(wide), len(wide), shown.head(SHOWN), missing / total, text)


def _gap(symbol: str, day: date, interval: str, held: int, instants: list[datetime]) -> dict[str, Any]:
    expected = _expected(day) // INTERVALS[interval]
    return {
        "symbol": symbol,
        "date": day,
        "interval": interval,
        "expected": expected,
        "missing": max(0, expected - held),
        "share": max(0.0, round(1 - held / expected, 4)),
        "which": _which(day, instants, INTERVALS[interval]),
    }


def intraday_provisional(
    connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings
) -> CheckResult:
    """Once a session is polled to its end, no minute of it may still change."""
    rows = connection.execute(
        "SELECT symbol, session_date AS date, count(*) AS provisional, min(datetime) AS first, max(datetime) AS last "
        "FROM price_history_intraday WHERE provisional AND session_date BETWEEN ? AND ? "
        "GROUP BY symbol, session_date ORDER BY date, symbol",
        [start, end],
    ).df()
    failing = int(rows["provisional"].sum())
    text = (
        f"{failing:,} minutes of {rows['symbol'].nunique():,} symbols had not settled when they were last asked for"
        if failing
        else "every minute is final"
    )
    return CheckResult(not failing, failing, rows.head(SHOWN), float(failing), text)


_AGREEMENT = """
WITH minutes AS (
    SELECT symbol, session_date AS date, count(*) AS bars, any_value(interval) AS interval,
        arg_min(open, datetime) AS open, max(high) AS high, min(low) AS low, arg_max(close, datetime) AS close,
        sum(volume) AS volume
    FROM price_history_intraday WHERE session_date BETWEEN ? AND ?
    GROUP BY symbol, session_date HAVING bool_and(basis = 'raw')
)
SELECT minutes.symbol, minutes.date, bars, interval, minutes.open, minutes.high, minutes.low, minutes.close,
    minutes.volume, daily.open AS day_open, daily.high AS day_high, daily.low AS day_low, daily.close AS day_close,
    daily.volume AS day_volume, daily.symbol IS NOT NULL AS has_daily
FROM minutes LEFT JOIN price_history_daily AS daily
    ON daily.symbol = minutes.symbol AND daily.date = minutes.date AND daily.basis = 'raw'
ORDER BY minutes.date, minutes.symbol
"""


def intraday_agreement(
    connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings
) -> CheckResult:
    """The minutes of a session add up to its daily bar, both raw; sessions whose daily bar is not held yet pass.

    Only symbols with nearly all of their minutes are compared: what is missing may have been the day's high.
    """
    bars = connection.execute(_AGREEMENT, [start, end]).df()
    if not len(bars):
        return CheckResult(True, 0, bars, 0.0, "no raw minutes to compare")
    due = [
        _expected(pd.Timestamp(day).date()) // INTERVALS[interval]
        for day, interval in zip(bars["date"], bars["interval"], strict=True)
    ]
    whole = bars["bars"].to_numpy() >= (1 - GAP_SHARE) * pd.Series(due).to_numpy()
    compared = bars[whole & bars["has_daily"].to_numpy(dtype=bool)]
    rows = _differing(compared)
    waiting = int((~bars["has_daily"]).sum())
    text = f"{rows['symbol'].nunique() if len(rows) else 0:,} of {len(compared):,} sessions of symbols differ"
    if waiting:
        text += f"; {waiting:,} have no raw daily bar yet"
    if len(bars) - waiting - len(compared):
        text += f"; {len(bars) - waiting - len(compared):,} lack too many minutes to be compared"
    failing = len(rows)
    return CheckResult(not failing, failing, rows.head(SHOWN), float(failing), text)


def _differing(bars: pd.DataFrame) -> pd.DataFrame:
    """A row for each field of a bar that differs by more than it may."""
    parts = []
    for name in ("open", "high", "low", "close", "volume"):
        ratio = bars[name] / bars[f"day_{name}"]
        if name == "volume":
            wrong = (ratio < LEAST_VOLUME) | (ratio > MOST_VOLUME)
            limit = f"{LEAST_VOLUME:g} to {MOST_VOLUME:g}"
        else:
            share = EXTREME_SHARE if name in ("high", "low") else AUCTION_SHARE
            wrong, limit = (ratio - 1).abs() > share, f"1 ± {share:g}"
        own = bars[wrong]
        parts.append(
            pd.DataFrame(
                {
                    "symbol": own["symbol"],
                    "date": own["date"],
                    "field": name,
                    "minutes": own[name],
                    "daily": own[f"day_{name}"],
                    "ratio": ratio[wrong].round(5),
                    "limit": limit,
                }
            )
        )
    return pd.concat(parts, ignore_index=True).sort_values(["date", "symbol"], kind="stable", ignore_index=True)


@cache
def _expected(session: date) -> int:
    """Minutes of the session's regular hours."""
    opens, closes = session_hours(session)
    return int((closes - opens) / timedelta(minutes=1))


def _which(session: date, instants: list[datetime], minutes: int) -> str:
    """Missing intervals as spans of UTC times, the first few of them."""
    opens, _ = session_hours(session)
    first = opens.replace(tzinfo=None)
    held = {int((moment - first) / timedelta(minutes=minutes)) for moment in instants}
    places = [place for place in range(_expected(session) // minutes) if place not in held]
    spans: list[list[int]] = []
    for place in places:
        if spans and place == spans[-1][1] + 1:
            spans[-1][1] = place
        else:
            spans.append([place, place])
    texts = [_span(first, begin, end, minutes) for begin, end in spans[:5]]
    return ", ".join(texts) + (f" and {len(spans) - 5} more spans" if len(spans) > 5 else "")


def _span(first: datetime, begin: int, end: int, minutes: int) -> str:
    texts = [f"{first + timedelta(minutes=place * minutes):%H:%M}" for place in (begin, end)]
    return texts[0] if begin == end else f"{texts[0]}-{texts[1]}"


INTRADAY_CHECKS = (
    Check(
        "intraday_gaps",
        f"Every symbol has nearly all minutes of the session; those that lack more than {GAP_SHARE:.0%} are named.",
        False,
        intraday_gaps,
    ),
    Check("intraday_provisional", "No minute of a session that is over may still change.", False, intraday_provisional),
    Check(
        "intraday_agreement",
        "The minutes add up to the daily bar: open and close within an auction's distance, high, low, volume.",
        False,
        intraday_agreement,
    ),
)
"""The checks on `price_history_intraday`, in the order they are shown."""
