"""Exports as the programs that they are for read them: zipline-reloaded ingests one, qlib dumps one.

zipline takes no pandas as new as this project's, and qlib brings some hundred packages along; each has an environment
of its own below `runtime/clients`, made by pip at the first run (some minutes, 2 GB together), or named by
`ZIPLINE_PYTHON` and `QLIB_PYTHON`. qlib's `dump_bin.py` is in no package: `QLIB_DUMP_BIN` names it, or it is fetched
from qlib's repository once.

The store is made up (`market_data_tests/exporting.py`): a dot in a symbol, a device's name, splits, a spin-off,
dividends, sessions without a bar.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from market_data.export import ExportRequest, export
from market_data.reading import BasisName, load
from market_data.settings import Settings
from market_data_tests.comparisons import Agreement, print_table
from market_data_tests.exporting import NOW, build, clock

__all__ = ["NEEDS_PAYLOADS", "agreements_of_qlib", "agreements_of_zipline", "dump_bin", "main", "python_of"]

NEEDS_PAYLOADS = False

_PROJECT = Path(__file__).resolve().parents[2]
_CLIENTS = _PROJECT / "runtime" / "clients"
_PACKAGES = {"zipline": "zipline-reloaded==3.2.1", "qlib": "pyqlib==0.9.7"}
_DUMP_BIN = "https://raw.githubusercontent.com/microsoft/qlib/v0.9.7/scripts/dump_bin.py"
_DUMP_BIN_HASH = "b8f34c57ce1ef4b1772f3909735e66058f21b25bd7ab8a5f16318822401fe53f"
_SYMBOLS = "A,AAPL,BRK.B,CON,GAP,LATE"
_HALF_A_THOUSANDTH = 0.0005 + 1e-9
_THOUSANDTHS = 5e-5
"""Half a thousandth of a dollar beside the least close of the store, some 20 dollars, and room for dividends."""
_FLOAT32 = 2.5e-7
"""Relative error of a quotient of 32-bit floats."""


def python_of(client: str) -> Path:
    """The interpreter of a client's own environment, which is made where there is none.

    Raises:
        subprocess.CalledProcessError: pip could not install it.
    """
    named = os.environ.get(f"{client.upper()}_PYTHON")
    if named:
        return Path(named)
    folder = _CLIENTS / client
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / _PACKAGES[client].replace("==", "-")
    if not done.exists():
        print(f"making an environment with {_PACKAGES[client]} in {folder}; that takes minutes", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", _PACKAGES[client]]
        subprocess.run(install, check=True)
        done.touch()
    return python


def dump_bin() -> Path | None:
    """qlib's script, fetched where it is not there; None where that cannot be done."""
    named = os.environ.get("QLIB_DUMP_BIN")
    if named:
        return Path(named)
    file = _CLIENTS / "dump_bin.py"
    if not file.exists():
        try:
            with urllib.request.urlopen(_DUMP_BIN, timeout=30) as answer:
                content = answer.read()
        except (urllib.error.URLError, TimeoutError):
            return None
        if hashlib.sha256(content).hexdigest() != _DUMP_BIN_HASH:
            return None
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return file


def agreements_of_zipline(python: Path, settings: Settings, folder: Path) -> Iterator[Agreement]:
    """What zipline stored, and what a strategy sees on the last session, beside `market_data.load`."""
    manifest = export(settings, ExportRequest("zipline", folder / "zipline", _SYMBOLS), clock).manifest
    found = _found(python, "_in_zipline.py", folder / "zipline", folder / "from_zipline")
    names = {file.path.removeprefix("daily/").removesuffix(".csv"): file.symbol for file in manifest.files}
    found = {name: table.rename(columns=names) for name, table in found.items()}
    raw, total = (_loaded(settings, basis, found["raw_close"]) for basis in ("raw", "total_return"))
    volumes = (found["raw_volume"].fillna(0), raw["volume"].fillna(0))
    yield _compared("zipline's stored closes, dollars", found["raw_close"], raw["close"], _HALF_A_THOUSANDTH)
    yield _compared("zipline's stored volumes, shares", *volumes, 0.0)
    # A dividend after a session without a bar: a trap of zipline's, and told of in the manifest.
    lost = [line.partition(":")[0] for line in manifest.named("cautions") if "lowers no earlier price" in line]
    ours, theirs = (table["close"].drop(columns=lost) for table in (total, found))
    yield _compared("zipline's adjusted closes, relative", theirs, ours, _THOUSANDTHS, is_relative=True)


def agreements_of_qlib(python: Path, script: Path, settings: Settings, folder: Path) -> Iterator[Agreement]:
    """What qlib's data API gives, beside `market_data.load`."""
    export(settings, ExportRequest("qlib", folder / "qlib", _SYMBOLS), clock)
    found = _found(python, "_in_qlib.py", folder / "qlib", folder / "from_qlib", script)
    raw, total = (_loaded(settings, basis, found["close"]) for basis in ("raw", "total_return"))
    pairs = {
        "$close": (found["close"], total["close"]),
        "$close / $factor": (found["close_over_factor"], raw["close"]),
        "$volume * $factor": (found["volume"] * found["factor"], raw["volume"]),
    }
    for name, (theirs, ours) in pairs.items():
        yield _compared(f"qlib's {name}, relative", theirs, ours, _FLOAT32, is_relative=True)


def main(payloads: Path) -> int:
    """Print the figures; 0 when all pass."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        settings = build(work / "store")
        agreements = list(agreements_of_zipline(python_of("zipline"), settings, work))
        script = dump_bin()
        if script is None:
            print(f"qlib is left out: {_DUMP_BIN} cannot be fetched; set QLIB_DUMP_BIN to a copy of it")
        else:
            agreements += agreements_of_qlib(python_of("qlib"), script, settings, work)
        return print_table(agreements)


def _found(python: Path, script: str, exported: Path, out: Path, *more: Path) -> dict[str, pd.DataFrame]:
    """The tables that a client's script wrote, by name: a row a session, a column a symbol."""
    out.mkdir()
    ran = subprocess.run(
        [python, Path(__file__).with_name(script), exported, out, *more], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise RuntimeError(f"{script} failed:\n{ran.stderr[-4000:]}")
    return {file.stem: pd.read_csv(file, index_col=0, parse_dates=True) for file in sorted(out.glob("*.csv"))}


def _loaded(settings: Settings, basis: BasisName, like: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Our closes and volumes for the sessions and symbols of a table."""
    first, last = (day.date() for day in (like.index[0], like.index[-1]))
    path = settings.database_for(synthetic=False)
    table = load(list(like.columns), first, last, basis, NOW, ("close", "volume"), database=path, settings=settings)
    assert (table.index == like.index).all(), "the client has other sessions"
    return {field: table[field].set_axis(like.index) for field in ("close", "volume")}


def _compared(
    name: str, theirs: pd.DataFrame, ours: pd.DataFrame, limit: float, *, is_relative: bool = False
) -> Agreement:
    """Of every number that either has; one beside none is infinitely far."""
    apart = (theirs / ours - 1 if is_relative else theirs - ours).abs()
    is_there = (theirs.notna() | ours.notna()).to_numpy()
    rows, _ = np.nonzero(is_there)
    return Agreement(name, ours.index.to_numpy()[rows], apart.fillna(np.inf).to_numpy()[is_there], limit)
