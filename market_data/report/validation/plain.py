"""A report as plain JSON types."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from datetime import date
from typing import Any

import numpy as np

from market_data.report.validation.document import ReportDocument

__all__ = ["as_json", "as_plain"]


def as_json(document: ReportDocument, **more: Any) -> str:
    """One JSON document in one line, with the keys of `as_plain` and those given."""
    return json.dumps(as_plain(document) | _plain(more), allow_nan=False)


def as_plain(document: ReportDocument) -> dict[str, Any]:
    """Every field of the document by its name, lists of records as lists of objects.

    Dates and instants are ISO 8601 text. What is not known is null: None, and a number that is NaN or infinite.
    """
    return {name: value for name, value in _plain(document).items() if name != "series" or value}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (tuple, list, np.ndarray)):
        return [_plain(item) for item in (value.tolist() if isinstance(value, np.ndarray) else value)]
    return value
