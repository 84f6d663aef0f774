"""Whether an export is still what was written."""

from __future__ import annotations

from pathlib import Path

from market_data.export.folder import JOURNAL, MANIFEST, NOTE, ExportFolder, hash_of
from market_data.export.manifest import ExportError, Manifest

__all__ = ["verify_export"]


def verify_export(path: Path) -> tuple[Manifest, list[str]]:
    """Hash every file of an export again.

    Returns:
        Its manifest, and a line for each file that is missing, altered or not of the export; none where it is whole.

    Raises:
        ExportError: there is no export, or it was not finished.
    """
    if (path / JOURNAL).exists():
        raise ExportError(f"{path}: an export that was not finished; run the same command again, which takes it up")
    if not (path / MANIFEST).exists():
        raise ExportError(f"{path}: has no {MANIFEST}; it is no export, or not a whole one")
    manifest = Manifest.read(path / MANIFEST)
    problems = []
    for file in manifest.files:
        found = hash_of(path / file.path)
        if found != file.sha256:
            problems.append(f"{file.path}: {'missing' if found is None else 'altered, its SHA-256 is another'}")
    if manifest.synthetic and not (path / NOTE).exists():
        problems.append(f"{NOTE}: missing, though the prices are made up")
    data = {file.path.partition("/")[0] for file in manifest.files}
    foreign = ExportFolder(path, "").foreign(file.path for file in manifest.files)
    problems += [f"{name}: not of the export" for name in foreign if name.partition("/")[0] in data]
    return manifest, problems
