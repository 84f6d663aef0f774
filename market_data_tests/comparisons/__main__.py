"""`python -m market_data_tests.comparisons NAME`: print the figures of one comparison; 0 when it passes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from market_data_tests import comparisons

PROJECT = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    """Run the comparison that is named.

    Returns:
        0 when it passes or there are no payloads, 1 when it does not pass, 2 when the name is not known.
    """
    names = sorted(module.name for module in iter_modules(comparisons.__path__) if not module.name.startswith("_"))
    if len(arguments) != 1 or arguments[0] not in names:
        print(f"name one comparison of {', '.join(names)}", file=sys.stderr)
        return 2
    module = import_module(f"market_data_tests.comparisons.{arguments[0]}")
    payloads = Path(os.environ.get("PAYLOADS") or PROJECT / "../shared/payloads").resolve()
    if getattr(module, "NEEDS_PAYLOADS", True) and not payloads.is_dir():
        print("skipped: no recorded payloads; set PAYLOADS to their folder")
        return 0
    return int(module.main(payloads))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
