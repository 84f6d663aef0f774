"""A report put into the folder of reports, as one HTML file and one JSON document."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from market_data.report.validation.concerns import concerns
from market_data.report.validation.document import ReportDocument
from market_data.report.validation.plain import as_json
from market_data.report.validation.written import write_page, write_text
from market_data.settings import Settings

__all__ = ["STANDING", "html_file", "publish"]

STANDING = "validation_report"
"""Name, without suffix, of the files of the report that is made anew each day; they are replaced."""


def html_file(settings: Settings, document: ReportDocument) -> Path:
    """Where the HTML of a report of its own span goes."""
    return settings.reports_folder / f"validation_{document.start}_{document.end}.html"


def publish(settings: Settings, document: ReportDocument, *, name: str | None = None) -> tuple[Path, Path]:
    """Write `<name>.html` and `<name>.json`, which has no price series; returns both.

    Args:
        name: by default that of `html_file`.

    Raises:
        SettingsError: they cannot be written.
    """
    file = html_file(settings, document) if name is None else settings.reports_folder / f"{name}.html"
    found = concerns(document, least_score=settings.min_data_quality)
    text = as_json(replace(document, series=()), concerns=list(found))
    return write_page(document, file), write_text(file.with_suffix(".json"), f"{text}\n")
