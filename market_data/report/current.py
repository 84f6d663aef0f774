"""Whether the store is as new as it should be by now, by the trading calendar: no holiday makes anything old.

Each function takes an open connection, the settings and the clock, and gives what holds at that instant. They are the
bodies of the Dagster checks `current`, and run without Dagster as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import duckdb
import pandas as pd

from market_data.clock import Clock
from market_data.ingest.sync.plan import latest_session
from market_data.instruments import Universe, load_universe
from market_data.records import EVERY
from market_data.report.checks import SHOWN, CheckResult
from market_data.sessions import is_session, session_hours, sessions_between
from market_data.settings import Settings
from market_data.warehouse.batch import naive_utc

__all__ = [
    "ACTIONS_LAG",
    "CURRENT",
    "LEAST_SHARE",
    "SYNCED_BY",
    "Current",
    "CurrentCheck",
    "actions_current",
    "daily_current",
    "due_session",
    "intraday_current",
    "providers_current",
]

SYNCED_BY = timedelta(hours=3)
"""From 00:00 UTC after a session to when it must be there: the sync begins at 00:15, the rest is for its work."""

LEAST_SHARE = 0.9
"""Share of the active symbols that must have the session; whose bars lack one by one, the check completeness tells."""

ACTIONS_LAG = timedelta(days=8)
"""How far behind the session that is due corporate actions may be told: they are asked for once a week."""

_ACTIVE = timedelta(days=14)
_POLLS = 3


@dataclass(frozen=True, slots=True)
class Current:
    """What a check of freshness found.

    Attributes:
        result: as of any check; `measured` is how far it is behind, 0 when it is not: sessions, days or minutes.
        numbers: further ones to watch, and the instants they go by.
    """

    result: CheckResult
    numbers: Mapping[str, str | int | float] = field(default_factory=dict)


def due_session(settings: Settings, clock: Clock) -> date | None:
    """The last session that must be in the store by now; None before the first one.

    A session is due 3 hours after the end of its UTC date. Beyond the window of a store that is not kept current, or
    the end of the sandbox's market, none is.
    """
    latest = latest_session(settings, clock)
    if latest is None or clock() >= datetime.combine(latest, time(), UTC) + timedelta(days=1) + SYNCED_BY:
        return latest
    earlier = sessions_between(settings.window_start, latest - timedelta(days=1))
    return earlier[-1].date() if len(earlier) else None


def daily_current(connection: duckdb.DuckDBPyConnection, settings: Settings, clock: Clock) -> Current:
    """The last session that is due has accepted bars, of at least 90 % of the active symbols.

    Active are those with a bar within 14 days of the newest one, but for those delisted or gone from the universe.
    """
    due = due_session(settings, clock)
    if due is None:
        return _fine("no session is due yet")
    last_bars = _last_bars(connection, load_universe(settings.universe), due)
    if not last_bars:
        return Current(_result(False, [], -1.0, f"no accepted bar at all; {due} is due"), {"session": f"{due}"})
    newest = max(last_bars.values())
    behind = _sessions_after(newest, due)
    lacking = [
        {"symbol": symbol, "last_bar": last, "sessions_behind": _sessions_after(last, due)}
        for symbol, last in sorted(last_bars.items(), key=lambda item: (item[1], item[0]))
        if last < due
    ]
    share = 1 - len(lacking) / len(last_bars)
    text = f"{due} is the last session due, {newest} the newest in the store"
    text += f", {behind} sessions behind" if behind else ""
    text += f"; {len(last_bars) - len(lacking):,} of {len(last_bars):,} active symbols have it ({share:.2%})"
    result = _result(not behind and share >= LEAST_SHARE, lacking, float(behind), text)
    return Current(result, {"session": f"{due}", "newest": f"{newest}", "sessions_behind": behind, "share": share})


def actions_current(connection: duckdb.DuckDBPyConnection, settings: Settings, clock: Clock) -> Current:
    """Splits and dividends of at least 90 % of the active symbols are told up to 8 days before the session due."""
    due = due_session(settings, clock)
    if due is None:
        return _fine("no session is due yet")
    symbols = sorted(_last_bars(connection, load_universe(settings.universe), due))
    if not symbols:
        return _fine("no symbol has bars that actions could be due for")
    told = _told_until(connection)
    until = {symbol: {kind: _later(told, symbol, kind) for kind in _KINDS} for symbol in symbols}
    oldest = due - ACTIONS_LAG
    behind = [
        {"symbol": symbol, **{f"{kind}s_until": last for kind, last in of.items()}}
        for symbol, of in until.items()
        if any(last is None or last < oldest for last in of.values())
    ]
    known = [last for of in until.values() for last in of.values() if last is not None]
    lag = max(0, (due - min(known)).days) if known else -1
    share = 1 - len(behind) / len(symbols)
    text = f"told up to {oldest} or later of {len(symbols) - len(behind):,} of {len(symbols):,} active symbols"
    text += "; `market-data actions fetch` asks for the rest" if behind else ""
    result = _result(share >= LEAST_SHARE, behind, float(lag), text)
    return Current(result, {"session": f"{due}", "days_behind": lag, "share": share})


def intraday_current(connection: duckdb.DuckDBPyConnection, settings: Settings, clock: Clock) -> Current:
    """While a session is open, the newest minute is no older than 3 polls and the time a minute takes to settle."""
    now = clock().astimezone(UTC)
    if not settings.intraday_symbols.strip():
        return _fine("nobody's minutes are polled: MARKET_DATA_INTRADAY_SYMBOLS is empty")
    hours = session_hours(now.date()) if is_session(now.date()) else None
    slack = timedelta(seconds=_POLLS * settings.intraday_poll + settings.intraday_settle)
    if hours is None or not hours[0] + slack <= now <= hours[1] + timedelta(minutes=settings.intraday_grace):
        return _fine("no session is open")
    newest, by_symbol = _newest_minutes(connection, now.date())
    # After the close nothing newer comes: its last minute is what can be asked for.
    wanted = min(now, hours[1]) - slack
    numbers: dict[str, str | int | float] = {"session": f"{now.date()}", "symbols": len(by_symbol)}
    if newest is None:
        return Current(_result(False, [], -1.0, f"no minute of {now.date()}, open since {hours[0]:%H:%M} UTC"), numbers)
    age = max(0.0, (min(now, hours[1]) - newest).total_seconds() / 60)
    late = [
        {"symbol": symbol, "newest_minute": f"{end:%H:%M}"}
        for symbol, end in sorted(by_symbol.items(), key=lambda item: (item[1], item[0]))
        if end < wanted
    ]
    passed = newest >= wanted
    text = (
        f"the newest minute ends {newest:%H:%M} UTC, {age:.1f} minutes back, where {slack.total_seconds() / 60:.3g} "
        f"are allowed; {len(by_symbol) - len(late):,} of {len(by_symbol):,} symbols have one as new"
    )
    # A symbol that did not trade has no newer minute, so that one alone says nothing.
    result = CheckResult(passed, 0 if passed else len(late), pd.DataFrame(late[:SHOWN]), age, text)
    return Current(result, numbers | {"minutes_behind": age})


def providers_current(connection: duckdb.DuckDBPyConnection, settings: Settings, clock: Clock) -> Current:
    """Some provider answered with bars since the close of the last session due; those that only failed are named."""
    due = due_session(settings, clock)
    if due is None:
        return _fine("no session is due yet")
    close = naive_utc(session_hours(due)[1])
    rows = connection.execute(
        "SELECT provider, max(fetched_at) FILTER (outcome = 'answered') AS newest_answer, "
        "count(*) FILTER (outcome = 'answered' AND fetched_at >= $close) AS answered, "
        "count(*) FILTER (outcome = 'failed' AND fetched_at >= $close) AS failed, "
        "arg_max(message, fetched_at) FILTER (outcome = 'failed' AND fetched_at >= $close) AS why "
        "FROM coverage WHERE feed = 'bars' GROUP BY provider ORDER BY provider",
        {"close": close},
    ).df()
    answering = rows[rows["answered"] > 0]
    silent = rows[(rows["answered"] == 0) & (rows["failed"] > 0)]
    newest = rows["newest_answer"].max() if len(rows) else pd.NaT
    passed = len(answering) > 0
    days = -1.0 if pd.isna(newest) else max(0.0, (pd.Timestamp(close) - newest).total_seconds() / 86_400)
    since = f"since the close of {due}"
    text = f"{', '.join(answering['provider'])} answered {since}" if passed else f"no provider answered {since}"
    if not passed and not pd.isna(newest):
        text += f"; the newest answer is of {newest:%Y-%m-%d %H:%M} UTC"
    text += f"; {', '.join(silent['provider'])} only failed" if len(silent) else ""
    shown = silent if len(silent) else rows.head(0 if passed else SHOWN)
    result = CheckResult(passed, len(shown), shown.head(SHOWN).reset_index(drop=True), days, text)
    return Current(result, {"session": f"{due}", "answering": len(answering), "failing": len(silent)})


CurrentFunction = Callable[[duckdb.DuckDBPyConnection, Settings, Clock], Current]


@dataclass(frozen=True, slots=True)
class CurrentCheck:
    """The check `current` of an asset; a severe one is about prices themselves, the others about what they rest on."""

    asset: str
    description: str
    severe: bool
    function: CurrentFunction


CURRENT = (
    CurrentCheck("raw_bars", "A provider answered since the last session due closed.", False, providers_current),
    CurrentCheck("daily_prices", "The last session due by the trading calendar is there.", True, daily_current),
    CurrentCheck("corporate_actions", "Splits and dividends are told up to 8 days ago.", False, actions_current),
    CurrentCheck("intraday_prices", "While a session is open, its newest minute is new.", True, intraday_current),
)
"""The checks of freshness, one an asset."""

_KINDS = ("split", "dividend")
_MINUTES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60}


def _fine(text: str) -> Current:
    return Current(_result(True, [], 0.0, text))


def _result(passed: bool, rows: Sequence[Mapping[str, object]], measured: float, text: str) -> CheckResult:
    return CheckResult(passed, len(rows), pd.DataFrame(rows[:SHOWN]), measured, text)


def _last_bars(connection: duckdb.DuckDBPyConnection, universe: Universe, due: date) -> dict[str, date]:
    """By active symbol, the date of its newest bar."""
    rows = connection.execute(
        "WITH ends AS (SELECT symbol, max(date) AS last_bar FROM price_history_daily GROUP BY symbol) "
        "SELECT symbol, last_bar FROM ends WHERE last_bar >= (SELECT max(last_bar) FROM ends) - to_days(?)",
        [_ACTIVE.days],
    ).fetchall()
    return {symbol: last for symbol, last in rows if _is_listed(universe, symbol, due)}


def _is_listed(universe: Universe, symbol: str, day: date) -> bool:
    if symbol not in universe:
        return False
    delisted_on = universe[symbol].delisted_on
    return delisted_on is None or day < delisted_on


def _sessions_after(last: date, due: date) -> int:
    return len(sessions_between(last + timedelta(days=1), due)) if last < due else 0


def _told_until(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], date]:
    rows = connection.execute("SELECT symbol, kind, max(last_date) FROM actions_told GROUP BY symbol, kind").fetchall()
    return {(symbol, kind): last for symbol, kind, last in rows}


def _later(told: dict[tuple[str, str], date], symbol: str, kind: str) -> date | None:
    """Until when the actions of a kind are told, of the symbol alone or of all at once."""
    ends = (told.get((symbol, kind)), told.get((EVERY, kind)))
    return max((end for end in ends if end is not None), default=None)


def _newest_minutes(
    connection: duckdb.DuckDBPyConnection, session: date
) -> tuple[datetime | None, dict[str, datetime]]:
    """When the newest bar of the session ended, over all symbols and for each."""
    rows = connection.execute(
        "SELECT symbol, max(datetime), arg_max(interval, datetime) FROM price_history_intraday "
        "WHERE session_date = ? GROUP BY symbol",
        [session],
    ).fetchall()
    ends = {
        symbol: start.replace(tzinfo=UTC) + timedelta(minutes=_MINUTES.get(interval, 1))
        for symbol, start, interval in rows
    }
    return max(ends.values(), default=None), ends
