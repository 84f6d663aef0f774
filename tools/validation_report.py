"""`python tools/validation_report.py` is `market-data report`, with the same options."""

from __future__ import annotations

import sys

try:
    from market_data.cli import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}; use the project's own Python: .venv/bin/python tools/validation_report.py (make venv makes it)")

if __name__ == "__main__":
    main(["report", *sys.argv[1:]])
