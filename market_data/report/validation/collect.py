"""Collecting a validation report from the canonical database, and from the ledger of calls what is left of quotas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date

import market_data
from market_data.clock import Clock
from market_data.errors import SettingsError
from market_data.ingest.amend import require_kind
from market_data.ingest.metrics import standings_of
from market_data.ingest.sync.plan import latest_session
from market_data.instruments import load_universe
from market_data.report.validation.coverage import headline, months_of, score_bins, session_rows, symbol_rows
from market_data.report.validation.document import ReportDocument
from market_data.report.validation.events import (
    gap_counts,
    read_action_rows,
    read_gap_rows,
    read_pair_rows,
    read_restatement_rows,
)
from market_data.report.validation.findings import read_findings, rule_rows
from market_data.report.validation.pairs import (
    expected_symbols,
    lay_out,
    report_sessions,
    report_symbols,
    require_known_span,
)
from market_data.report.validation.series import read_series
from market_data.report.validation.standing import check_rows, provider_rows
from market_data.settings import Settings
from market_data.warehouse.connection import Database

__all__ = ["MOST_ROWS", "collect", "default_span", "span_of_text"]

MOST_ROWS = {"findings": 20_000, "restatements": 2_000, "actions": 20_000, "gaps": 5_000}
"""How many rows of these lists a report holds at most; the first ones in their order."""


def default_span(settings: Settings, clock: Clock) -> tuple[date, date]:
    """The window's first date, and the last session that is due by now."""
    return settings.window_start, latest_session(settings, clock) or settings.window_end


def span_of_text(start: str, end: str, settings: Settings, clock: Clock) -> tuple[date, date]:
    """The span that two ISO dates name; an empty one is that of `default_span`.

    Raises:
        SettingsError: one is no date.
    """
    first, last = default_span(settings, clock)
    return _day("start", start) or first, _day("end", end) or last


def _day(name: str, text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip()) if text.strip() else None
    except ValueError:
        raise SettingsError(f"{name}: {text!r} is not a date as in 2024-01-02") from None


def collect(
    settings: Settings,
    *,
    synthetic: bool,
    start: date,
    end: date,
    symbols: Sequence[str] | None = None,
    series: bool = False,
    clock: Clock,
    most_rows: Mapping[str, int] = MOST_ROWS,
) -> ReportDocument:
    """What the store holds of a span, both ends inclusive, how good it is, and where to look.

    One brief read-only connection; nothing is changed and no provider is asked. Beside the database only the ledger of
    calls is read, for quotas, and the check `provenance` looks whether payloads are there. Requests of providers and
    the checks are of all symbols, whichever are chosen. A store or a span without data gives a report with zeros.

    Args:
        synthetic: of which store.
        symbols: canonical symbols of the universe; None for all the store was to hold so far.
        series: whether the daily closes of each symbol are in it as well.
        clock: that of the store.
        most_rows: see `MOST_ROWS`.

    Raises:
        SettingsError: the span is none, or outside the sessions the store knows.
        WarehouseError: there is no store, or it cannot be used.
    """
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    if database.exists():
        database.prepare()  # one of an older version lacks columns
    universe = load_universe(settings.universe)
    with database.reading() as connection:
        require_kind(connection, database.path, synthetic=synthetic)
        require_known_span(connection, start, end)
        chosen = list(symbols) if symbols is not None else report_symbols(connection, start, end, universe)
        until = latest_session(settings, clock)
        lay_out(connection, universe, settings, symbols=chosen, start=start, end=end, until=until)
        if symbols is None:
            chosen = expected_symbols(connection)  # not those that are not listed in the span
        sessions = report_sessions(connection, start, end, until=until)
        months = months_of(sessions)
        findings = read_findings(connection, chosen, start, end)
        gaps = read_gap_rows(connection, settings.min_data_quality)
        within = (chosen, start, end)
        now = clock()
        standings = standings_of(settings, synthetic=synthetic, now=now)
        restatements = read_restatement_rows(connection, *within)
        actions = read_action_rows(connection, *within)
        lists = {"findings": findings, "restatements": restatements, "actions": actions, "gaps": gaps}
        return ReportDocument(
            generated_at=now,
            start=start,
            end=end,
            synthetic=synthetic,
            database=str(database.path),
            version=market_data.__version__,
            headline=headline(connection, sessions, *gap_counts(gaps)),
            months=months,
            sessions=session_rows(connection, sessions),
            symbols=symbol_rows(connection, universe, chosen, months, Counter(item.symbol for item in findings)),
            scores=score_bins(connection),
            rules=rule_rows(findings),
            providers=provider_rows(connection, standings, start=start, now=now),
            restatements=restatements[: most_rows["restatements"]],
            actions=actions[: most_rows["actions"]],
            pairs=read_pair_rows(connection, *within),
            gaps=gaps[: most_rows["gaps"]],
            checks=check_rows(connection, sessions[0], sessions[-1], settings) if sessions else (),
            series=read_series(connection, chosen, sessions, findings, today=now.date()) if series else (),
            truncated={name: len(rows) for name, rows in lists.items() if len(rows) > most_rows[name]},
            findings=findings[: most_rows["findings"]],
        )
