"""Packing the daily bars of an instrument for its page: small enough that hundreds of them lie in one file."""

from __future__ import annotations

import base64
import gzip
import json
import math
import struct

import numpy as np
import numpy.typing as npt

from market_data.report.validation.document import Finding, PriceSeries

__all__ = ["pack", "packed_text"]


def pack(series: PriceSeries) -> str:
    """The bars and findings of one instrument as base64 of gzip.

    Inside lie the length of a JSON text (uint32, little endian), that text (`bars`, `refusal`, `findings`), and four
    columns of as many 32-bit numbers as there are bars: steps between positions among the sessions (int32), closes as
    traded, the ratio of the adjusted close to that (to 1 where no close as traded is known), and volumes (float32; NaN
    is what is not known). The bytes of a column are stored by significance, all highest together, which halves what
    gzip makes of them. The ratio, unlike the adjusted close, hardly changes from one bar to the next. Seven digits of a
    price are kept: enough to look at.
    """
    told = {
        "bars": len(series.sessions),
        "refusal": series.refusal,
        "findings": [_finding(finding) for finding in series.findings],
    }
    text = json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    steps = np.diff(series.sessions.astype("<i4"), prepend=np.int32(0)).astype("<i4")
    ratio = series.adjusted / np.where(series.raw > 0, series.raw, 1.0)
    columns = [steps, *(values.astype("<f4") for values in (series.raw, ratio, series.volume))]
    return packed_text(struct.pack("<I", len(text)) + text + b"".join(_by_significance(column) for column in columns))


def packed_text(data: bytes) -> str:
    """Base64 of gzip, the same for the same bytes."""
    return base64.b64encode(gzip.compress(data, compresslevel=6, mtime=0)).decode("ascii")


def _by_significance(column: npt.NDArray[np.generic]) -> bytes:
    return np.ascontiguousarray(column).view(np.uint8).reshape(-1, 4).T.tobytes()


def _finding(finding: Finding) -> list[str | float | None]:
    return [
        finding.date.isoformat() if finding.date else None,
        finding.rule,
        finding.severity,
        finding.field,
        _finite(finding.value),
        _finite(finding.limit),
        finding.message,
        finding.provider,
    ]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
