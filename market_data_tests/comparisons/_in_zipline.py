"""Runs in zipline's own environment: ingests a csvdir export, and writes down what zipline gives back.

`python _in_zipline.py EXPORT OUT`: closes and volumes as stored in `raw_close.csv` and `raw_volume.csv`, and in
`close.csv` the closes as a strategy on the last session sees them in its history, adjusted; a column a symbol.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd


def main(export: Path, out: Path) -> None:
    """Ingest with zipline's command, as a user does, and read with its bundle and data portal."""
    with tempfile.TemporaryDirectory() as root:
        os.environ |= {"ZIPLINE_ROOT": root, "CSVDIR": str(export)}
        command = [sys.executable, "-m", "zipline", "ingest", "-b", "csvdir", "--no-show-progress"]
        subprocess.run(command, check=True)

        from zipline.data import bundles
        from zipline.data.data_portal import DataPortal
        from zipline.utils.calendar_utils import get_calendar

        bundle, calendar = bundles.load("csvdir"), get_calendar("NYSE")
        assets = bundle.asset_finder.retrieve_all(bundle.asset_finder.equities_sids)
        first, last = min(asset.start_date for asset in assets), max(asset.end_date for asset in assets)
        reader, sids = bundle.equity_daily_bar_reader, [asset.sid for asset in assets]
        sessions = calendar.sessions_in_range(first, last)
        names = [asset.symbol for asset in assets]
        for field, values in zip(
            ("close", "volume"), reader.load_raw_arrays(["close", "volume"], first, last, sids), strict=True
        ):
            pd.DataFrame(values, index=sessions, columns=names).to_csv(out / f"raw_{field}.csv")
        portal = DataPortal(
            bundle.asset_finder,
            trading_calendar=calendar,
            first_trading_day=reader.first_trading_day,
            equity_daily_reader=reader,
            adjustment_reader=bundle.adjustment_reader,
        )
        seen = portal.get_history_window(assets, last, len(sessions), "1d", "close", "daily")
        seen.columns = names
        seen.to_csv(out / "close.csv")
        # By our spelling of a class, and by that of a symbol that is a device's name.
        for symbol, name in (("BRK.B", "BRK-B"), ("CON", "CON_")):
            if name in names:
                assert bundle.asset_finder.lookup_symbol(symbol, as_of_date=last).symbol == name


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
