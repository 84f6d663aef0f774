"""Writing a report's files: whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from market_data.errors import SettingsError
from market_data.report.validation.document import ReportDocument

__all__ = ["write_page", "write_text"]


def write_text(file: Path, text: str) -> Path:
    """Write a file anew, with its folder, in one step: whoever reads it sees the old one or the new one.

    Raises:
        SettingsError: it cannot be written.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8", newline="")
        part.replace(file)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise _explained(file, error) from None
    return file


def write_page(document: ReportDocument, file: Path) -> Path:
    """Write a report as one HTML file, likewise.

    Raises:
        SettingsError: it cannot be written.
    """
    from market_data.report.validation.html import write_html

    try:
        return write_html(document, file)
    except OSError as error:
        raise _explained(file, error) from None


def _explained(file: Path, error: OSError) -> SettingsError:
    return SettingsError(f"{file}: cannot be written: {error.strerror}; name another place, or mend its folder")
