"""The formats: what each reads of the store, and which files it makes of a batch."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
from pyarrow import csv, parquet

from market_data.export.batch import Batch, by_symbol
from market_data.export.file_names import file_name
from market_data.export.qlib import qlib_sheets
from market_data.export.request import BARS, Format, Plan
from market_data.export.sheet import Sheet
from market_data.export.zipline import zipline_sheets
from market_data.reading import BasisName

__all__ = ["ExportFormat", "encoded", "format_of"]

_WORDS = ("symbol", "basis", "source_provider", "raw_hash")


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A format.

    Attributes:
        folder: of the data, below the export's own.
        symbols: how many are read and written together, where the plan does not say.
        sheets: the files of the n-th part.
        others: bases that are read beside the plan's own, and the fields in each.
        with_actions: whether corporate actions and sessions are needed.
    """

    folder: str
    symbols: int
    sheets: Callable[[Batch, int], Iterator[Sheet]]
    others: tuple[tuple[BasisName, tuple[str, ...]], ...] = ()
    with_actions: bool = False


def format_of(plan: Plan) -> ExportFormat:
    """How a plan is carried out."""
    formats: Mapping[Format, ExportFormat] = {
        "parquet": ExportFormat("prices", 256, _by_year),
        "csv": ExportFormat("prices", 128, _by_symbol),
        # The total return is read for its refusals: prices as traded are of use only beside every action.
        "zipline": ExportFormat("daily", 128, zipline_sheets, (("total_return", ("close",)),), with_actions=True),
        "qlib": ExportFormat("csv", 128, qlib_sheets, (("raw", BARS),)),
    }
    chosen = formats[plan.format]
    if plan.format == "zipline" and plan.basis != "raw":
        return ExportFormat(chosen.folder, chosen.symbols, chosen.sheets, with_actions=True)
    return chosen


def encoded(sheet: Sheet, about: Mapping[str, Any]) -> bytes:
    """A sheet as the bytes of its file: numbers as short as reads back the same, dates as in 2021-01-19.

    Args:
        about: what the metadata `market_data` of a Parquet file tell, plain JSON types.
    """
    sink = io.BytesIO()
    if sheet.path.endswith(".csv"):
        csv.write_csv(sheet.table, sink, csv.WriteOptions(quoting_style="none", quoting_header="none"))
    else:
        table = sheet.table.replace_schema_metadata({"market_data": json.dumps(about)})
        words = [name for name in _WORDS if name in table.column_names]
        parquet.write_table(table, sink, compression="zstd", use_dictionary=words)
    return sink.getvalue()


def _by_year(batch: Batch, number: int) -> Iterator[Sheet]:
    years = pc.year(batch.prices["date"])
    for year in sorted(pc.unique(years).to_pylist()):
        rows = batch.prices.filter(pc.equal(years, year))
        yield Sheet(f"prices/year={year}/part-{number:04}.parquet", None, rows)


def _by_symbol(batch: Batch, number: int) -> Iterator[Sheet]:
    for symbol, rows in by_symbol(batch.prices):
        yield Sheet(f"prices/{file_name(symbol)}.csv", symbol, rows)
