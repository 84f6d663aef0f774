"""A file that is about to be written."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

__all__ = ["Sheet"]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table and where it goes.

    Attributes:
        path: below the export's folder, with forward slashes.
        symbol: the one it holds; None for several.
        cautions: what whoever reads it should know.
    """

    path: str
    symbol: str | None
    table: pa.Table
    cautions: tuple[str, ...] = ()
