"""The validation report as one HTML file that asks for nothing: no network, no other file.

The plots are drawn by plotly.js, as the Python package `plotly` ships it. It lies in the file as gzip, and is unpacked
after the page is readable; so are the bars of an instrument, when its page is opened. The content security policy
forbids any request and any script but these two, known by their SHA-256. What data says is only ever text: it is
escaped where the page is written, and set as text where the page's own script shows it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from markupsafe import Markup

from market_data.report.validation import html_text
from market_data.report.validation.document import ReportDocument
from market_data.report.validation.html_heatmap import STEPS, strips, year_marks
from market_data.report.validation.html_plots import Plot, months_of, plots
from market_data.report.validation.html_series import pack, packed_text
from market_data.report.validation.html_tables import (
    Table,
    actions_table,
    gaps_table,
    json_of,
    restatements_table,
    symbols_table,
    worst_symbols,
)

__all__ = ["html", "script_json", "write_html"]

_FORMATS = ("change", "count", "day", "duration", "instant", "percent", "plain", "plural", "price", "score")
_SCRIPTS = ("base.js", "tables.js", "plots.js", "symbol.js", "report.js")
_FORBIDDEN = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def write_html(document: ReportDocument, file: Path) -> Path:
    """Write the report as one file, replacing an older one only when the new one is whole.

    Returns:
        The file.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        partial.write_text(html(document), encoding="utf-8", newline="\n")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return file


def html(document: ReportDocument) -> str:
    """The report as one HTML document."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("market_data.report.validation"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {name: getattr(html_text, name) for name in _FORMATS}
    loader, plotly = environment.loader, get_plotlyjs()
    assert loader is not None
    sources = {name: loader.get_source(environment, name)[0] for name in ("report.css", *_SCRIPTS)}
    script = '"use strict";\n(() => {\n' + "\n".join(sources[name] for name in _SCRIPTS) + "})();\n"
    tables = {table.name: table for table in _tables(document)}
    drawn = plots(document)
    return environment.get_template("report.html.j2").render(
        document=document,
        headline=document.headline,
        database=Path(document.database).name,
        policy=_policy((script, plotly)),
        style=Markup(sources["report.css"]),  # noqa: S704 (the package's own)
        script=Markup(script),  # noqa: S704 (the package's own)
        plotly=packed_text(plotly.encode()),
        data=script_json(_data(document, tables, drawn)),
        series=[pack(series) for series in document.series],
        tables=tables,
        plots=drawn,
        months=months_of(document),
        strips=strips(document),
        marks=year_marks(document.months),
        steps=STEPS,
        worst=worst_symbols(document),
    )


def script_json(data: Any) -> Markup:
    """JSON that may stand inside a script element: nothing in it can end the element or a line of script."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escape in _FORBIDDEN.items():
        text = text.replace(character, escape)
    return Markup(text)  # noqa: S704 (escaped above)


def _tables(document: ReportDocument) -> tuple[Table, ...]:
    return symbols_table(document), restatements_table(document), actions_table(document), gaps_table(document)


def _data(document: ReportDocument, tables: dict[str, Table], drawn: dict[str, Plot]) -> dict[str, Any]:
    places = {row.symbol: place for place, row in enumerate(document.symbols)}
    return {
        "title": f"Validation report, {document.start} to {document.end}",
        "synthetic": document.synthetic,
        "symbols": [row.symbol for row in document.symbols],
        "series": {series.symbol: place for place, series in enumerate(document.series) if series.symbol in places},
        "sessions": [row.session.isoformat() for row in document.sessions],
        "tables": {name: json_of(table) for name, table in tables.items()},
        "plots": {name: plot.figure for name, plot in drawn.items() if plot.figure is not None},
        "meanings": {row.rule: row.meaning for row in document.rules},
    }


def _policy(scripts: Iterable[str]) -> str:
    """The content security policy: nothing is asked for, and only these scripts run."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii") for script in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    # plotly sets styles of its own.
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
