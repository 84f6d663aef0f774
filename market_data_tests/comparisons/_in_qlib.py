"""Runs in qlib's own environment: dumps a CSV export with qlib's script, and writes down what qlib gives back.

`python _in_qlib.py EXPORT OUT DUMP_BIN`: closes, volumes and factors in `close.csv`, `volume.csv` and `factor.csv`, a
column an instrument.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path


def main(export: Path, out: Path, dump_bin: Path) -> None:
    """Dump with qlib's script, as a user does, and read with its data API."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, dump_bin, "dump_all", "--data_path", export / "csv", "--qlib_dir", store]
        subprocess.run([*map(str, command), "--max_workers", "2"], check=True)

        import qlib
        from qlib.data import D

        qlib.init(provider_uri=store, region="us", kernels=1)
        names = D.list_instruments(D.instruments("all"), as_list=True)
        found = D.features(names, ["$close", "$volume", "$factor", "$close/$factor"], freq="day")
        for field in found.columns:
            name = field.strip("$").replace("/$", "_over_")
            found[field].unstack("instrument").to_csv(out / f"{name}.csv")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
