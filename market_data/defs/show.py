"""Metadata that people look at in the UI: column schemas and lineage, tables, what a partition and a check tell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd
import pandera.pandas as pa

from market_data.defs.resources import MarketDataResource
from market_data.report.checks import CheckResult

__all__ = ["SHOWN", "Metadata", "attach", "check_metadata", "column_schema", "lineage", "source", "table"]

SHOWN = 20
"""Rows of a table in metadata."""

Metadata = dict[str, Any]
_REQUIRED = dg.TableColumnConstraints(nullable=False)


def column_schema(model: type[pa.DataFrameModel], *, symbol: bool = False) -> dg.TableSchema:
    """The columns of a pandera model as Dagster shows them; `symbol` adds the key the frames leave out."""
    columns = [
        dg.TableColumn(
            name,
            _dtype(str(column.dtype)),
            description=column.description,
            constraints=dg.TableColumnConstraints(
                nullable=column.nullable,
                unique=column.unique and not symbol,
                other=[str(check.error or check.name) for check in column.checks],
            ),
        )
        for name, column in model.to_schema().columns.items()
    ]
    key = [dg.TableColumn("symbol", "str", description="Canonical symbol", constraints=_REQUIRED)] if symbol else []
    return dg.TableSchema(columns=key + columns)


def _dtype(name: str) -> str:
    if name.startswith("datetime64"):
        return "date"
    return "str" if name.startswith("str") else name


def lineage(columns: Mapping[str, Iterable[str]]) -> dg.TableColumnLineage:
    """Which columns each column is made from, `asset.column` each."""
    return dg.TableColumnLineage(
        {
            name: [
                dg.TableColumnDep(asset_key=dg.AssetKey(asset), column_name=column)
                for asset, _, column in (source.rpartition(".") for source in sources)
            ]
            for name, sources in columns.items()
        }
    )


def attach(context: dg.AssetExecutionContext, by_key: dict[str, Metadata], of_run: Metadata) -> None:
    """Give each partition its own numbers, and what is about the whole run to the last one.

    Metadata of a `MaterializeResult` is copied to every partition of a range; a plot copied 1,256 times is 30 MB.
    """
    last = context.partition_keys[-1]
    for key in context.partition_keys:
        metadata = (of_run if key == last else {}) | by_key.get(key, {})
        if metadata:
            context.add_asset_metadata(metadata, partition_key=key)


def source(market_data: MarketDataResource) -> Metadata:
    """Which provider, and whether its data is made up."""
    synthetic = market_data.is_synthetic()
    path = market_data.settings().database_for(synthetic=synthetic)
    note: Metadata = {"source": market_data.source_name(), "database": dg.MetadataValue.path(path.resolve())}
    return note | ({"SYNTHETIC": "made up by the sandbox, of no use for any decision"} if synthetic else {})


def check_metadata(result: CheckResult) -> Metadata:
    """What a check found: a summary, numbers, and the first failing rows."""
    metadata: Metadata = {
        "summary": result.summary,
        "failing_rows": result.failing,
        "measured": result.measured,
    }
    if not result.passed or result.failing:
        metadata["rows"] = table(result.rows.to_dict("records"))
    return metadata


def table(rows: Sequence[Mapping[Any, Any]]) -> dg.TableMetadataValue:
    """Rows as the UI shows them: numbers as they are, dates and instants as text; all rows have the first one's names.

    A column is of the kind that its values have, nulls aside; of mixed kinds it is text.
    """
    plain = [{str(name): _plain(value) for name, value in row.items()} for row in rows]
    names = list(plain[0]) if plain else ["-"]
    kinds = {name: {type(row[name]) for row in plain} - {type(None)} for name in names}
    columns = [
        dg.TableColumn(name, _KINDS.get(kind.pop(), "string") if len(kind) == 1 else "string")
        for name, kind in kinds.items()
    ]
    return dg.MetadataValue.table([dg.TableRecord(row) for row in plain], schema=dg.TableSchema(columns))


_KINDS = {bool: "bool", int: "int", float: "float"}


def _plain(value: Any) -> str | int | float | bool | None:
    if value is None or value is pd.NaT:
        return None
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.10g}")
    if isinstance(value, pd.Timestamp):
        is_day = value == value.normalize()
        return value.date().isoformat() if is_day else value.isoformat(sep=" ", timespec="minutes")
    return value if isinstance(value, (str, int, float, bool)) else str(value)
