"""`python tools/data_sync.py` is `market-data sync`, with the same options."""

from __future__ import annotations

import sys

try:
    from market_data.cli import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}; use the project's own Python: .venv/bin/python tools/data_sync.py (make venv makes it)")

if __name__ == "__main__":
    main(["sync", *sys.argv[1:]])
