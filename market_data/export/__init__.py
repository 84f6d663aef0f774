"""The store's daily prices as files that other programs read, in one basis, as known at one instant.

`export` writes them, a part at a time, so that memory is bounded and an interrupted export is taken up where it was.
`verify_export` tells whether they are still what was written. What the files look like: `docs/export.md`.
"""

from __future__ import annotations

from market_data.export.manifest import ExportError, ExportFile, Manifest
from market_data.export.request import FORMATS, ExportRequest, Format
from market_data.export.run import Exported, export
from market_data.export.verify import verify_export

__all__ = [
    "FORMATS",
    "ExportError",
    "ExportFile",
    "ExportRequest",
    "Exported",
    "Format",
    "Manifest",
    "export",
    "verify_export",
]
