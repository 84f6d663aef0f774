"""Whether everything made from the canonical tables is of them as they stand, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from itertools import groupby
from typing import Any

import duckdb
import pyarrow as pa

from market_data.features.lineage import read_standing
from market_data.report.slippage import measured
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.features import READ_TABLES
from market_data.warehouse.slippage import SLIPPAGE_COLUMNS, read_benchmarks

__all__ = ["DOWNSTREAM", "Downstream", "DownstreamReport", "StaleInput", "check_downstream", "checked"]

DOWNSTREAM: dict[str, tuple[str, ...]] = {
    "features_daily": READ_TABLES,
    "execution_slippage": (
        "execution_feedback",
        "price_history_daily",
        "price_history_intraday",
        "corporate_actions",
        "sessions",
    ),
    "validation report": (
        "price_history_daily",
        "data_quality_log",
        "quality_findings",
        "corporate_actions",
        "actions_told",
        "revisions",
        "reconciliations",
        "gaps",
        "sessions",
        "ingestion_jobs",
        "ingestion_audit",
        "coverage",
        "provider_metrics",
        "provider_quotas",
    ),
}
"""What is made from the canonical tables, and from which; a report is made anew each time, and keeps nothing."""


@dataclass(frozen=True, slots=True)
class StaleInput:
    """Something that is not of the store as it stands.

    Attributes:
        kind: "stale" (its input has changed), "foreign" (its input is not of this store), or "absent" (never made).
        table: of `DOWNSTREAM`.
        place: a session, two with .. between them, or an order.
        message: what is wrong with it.
    """

    kind: str
    table: str
    place: str
    message: str


@dataclass(frozen=True, slots=True)
class Downstream:
    """A table or report of `DOWNSTREAM`: what it is made from, and how much of it there is."""

    name: str
    reads: tuple[str, ...]
    rows: int
    checked: int


@dataclass(frozen=True, slots=True)
class DownstreamReport:
    """What was looked at, and what is wrong with it."""

    tables: tuple[Downstream, ...] = ()
    findings: tuple[StaleInput, ...] = field(default=())

    @property
    def is_sound(self) -> bool:
        """Whether everything is of the store as it stands."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"sound": self.is_sound}


def check_downstream(settings: Settings, *, synthetic: bool) -> DownstreamReport:
    """Look through everything that is made from the canonical tables; changes nothing.

    Raises:
        WarehouseError: no database, or one that cannot be used.
    """
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    if database.exists():
        database.prepare()
    with database.reading() as connection:
        return checked(connection)


def checked(connection: duckdb.DuckDBPyConnection) -> DownstreamReport:
    """The same of an open database."""
    features, sessions = _features(connection)
    slippage = _slippage(connection)
    counts = {"features_daily": sessions, "execution_slippage": _rows(connection, "execution_slippage")}
    tables = tuple(
        Downstream(name, reads, _rows(connection, name) if name in counts else 0, counts.get(name, 0))
        for name, reads in DOWNSTREAM.items()
    )
    return DownstreamReport(tables, (*features, *slippage))


def _features(connection: duckdb.DuckDBPyConnection) -> tuple[list[StaleInput], int]:
    standing = read_standing(connection)
    if not standing.made and not standing.stale and not standing.gone:
        return [], 0
    table = "features_daily"
    since = min((*standing.stale, *standing.gone, *(standing.hashes.keys() - standing.absent)), default=date.max)
    absent = {day: "not made, though sessions before it are" for day in standing.absent if day > since}
    found = [
        *_of_sessions("stale", table, standing.stale),
        *_of_sessions("foreign", table, standing.gone),
        *_of_sessions("absent", table, absent),
    ]
    return found, standing.made


def _of_sessions(kind: str, table: str, told: Mapping[date, str]) -> Iterator[StaleInput]:
    """One finding for sessions after each other that say the same."""
    for message, group in groupby(sorted(told.items()), key=lambda item: item[1]):
        days = [day for day, _ in group]
        place = str(days[0]) if len(days) == 1 else f"{days[0]}..{days[-1]} ({len(days)} sessions)"
        yield StaleInput(kind if "another database" not in message else "foreign", table, place, message)


def _slippage(connection: duckdb.DuckDBPyConnection) -> list[StaleInput]:
    """Orders whose stored row is not what their benchmarks give now, and rows of no order."""
    benchmarks = read_benchmarks(connection)
    if len(benchmarks):
        told = pa.Table.from_pandas(measured(benchmarks)[list(SLIPPAGE_COLUMNS)], preserve_index=False)
        connection.register("told", told)
        differs = "({}) IS DISTINCT FROM ({})".format(
            *(", ".join(f"{table}.{name}" for name in SLIPPAGE_COLUMNS[1:]) for table in ("held", "told"))
        )
        rows = connection.execute(
            "SELECT order_id, held.symbol, held.session_date "
            "FROM told JOIN execution_slippage AS held USING (order_id) "
            f"WHERE {differs} ORDER BY order_id"
        ).fetchall()
        connection.unregister("told")
    else:
        rows = []
    foreign = connection.execute(
        "SELECT order_id, symbol, session_date FROM execution_slippage ANTI JOIN execution_feedback USING (order_id) "
        "ORDER BY order_id"
    ).fetchall()
    return [
        StaleInput("stale", "execution_slippage", f"order {order}", f"prices of {symbol} on {day} have changed since")
        for order, symbol, day in rows
    ] + [
        StaleInput("foreign", "execution_slippage", f"order {order}", f"no execution of {symbol} on {day} is known")
        for order, symbol, day in foreign
    ]


def _rows(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(connection.execute(f'SELECT count(*) FROM "{table}"').fetchall()[0][0])
