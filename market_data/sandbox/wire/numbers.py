"""The texts of a column of numbers, as each vendor writes them; None or an empty text stands for a null."""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np
import numpy.typing as npt

__all__ = ["PRICE_DIGITS", "VOLUME_DIGITS", "fixed_cells", "float32_cells", "go_cells", "plain_cells", "whole_cells"]

Floats = npt.NDArray[np.float64]

# Digits beyond what a price or a volume means, and short of those where binary noise shows.
PRICE_DIGITS = 10
VOLUME_DIGITS = 15

_TRAILING_ZEROS = re.compile(r"\.?0+(?=e)")


def plain_cells(values: Floats, digits: int) -> list[str]:
    """Shortest plain decimal text of each value, never in exponent form; empty for a null."""
    pattern = f"%.{digits}g"
    texts = [pattern % value for value in (values + 0.0).tolist()]
    size = np.abs(values)
    # `%g` is several times faster than Decimal and right for all but the sizes where it turns to exponents.
    usual = (size == 0) | ((size >= 1e-4) & (size < 10.0 ** (digits - 1)))
    for place in np.flatnonzero(~usual).tolist():
        texts[place] = "" if np.isnan(values[place]) else format(Decimal(texts[place]), "f")
    return texts


def go_cells(values: Floats, digits: int) -> list[str]:
    """As Go's `%g` writes a float: `739867`, from a million on `1.12117471e+08`; `null` for a null."""
    texts = [f"%.{digits}g" % value for value in (values + 0.0).tolist()]
    large = np.flatnonzero(np.abs(values) >= 1e6)
    # One pass over all of them at once: several times faster than one for each.
    pattern = f"%.{digits - 1}e"
    written = _TRAILING_ZEROS.sub("", " ".join([pattern % value for value in values[large].tolist()]))
    for place, text in zip(large.tolist(), written.split(), strict=True):
        texts[place] = text
    return _with_nulls(texts, values)


def float32_cells(values: Floats) -> list[str]:
    """The double nearest to the single-precision value, as `129.0399932861328`; `null` for a null."""
    noisy = values.astype(np.float32).astype(np.float64)
    return _with_nulls(list(map(repr, noisy.tolist())), values)


def whole_cells(values: Floats) -> list[str]:
    """Whole numbers; `null` for a null."""
    return _with_nulls(list(map(str, np.nan_to_num(values).astype(np.int64).tolist())), values)


def fixed_cells(values: Floats, places: int = 4) -> list[str]:
    """A fixed number of decimals, as `421.5000`; empty for a null."""
    pattern = f"%.{places}f"
    return _with_nulls([pattern % value for value in (values + 0.0).tolist()], values, null="")


def _with_nulls(texts: list[str], values: Floats, null: str = "null") -> list[str]:
    for place in np.flatnonzero(np.isnan(values)).tolist():
        texts[place] = null
    return texts
