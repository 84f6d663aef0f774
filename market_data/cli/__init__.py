"""The command line, `market-data`.

Exit codes: 0 done; 1 a symbol was rejected, failed or has no data, vendors differ, or something is not whole; 2 bad
input, nothing was done; 130 interrupted.
"""

from __future__ import annotations

import sys

import typer

from market_data.cli.actions import actions, splits
from market_data.cli.alerts import alerts
from market_data.cli.amend import amend
from market_data.cli.asof import asof
from market_data.cli.backfill import backfill
from market_data.cli.backup import backup
from market_data.cli.demo import demo
from market_data.cli.explain import explain
from market_data.cli.feedback import feedback, slippage
from market_data.cli.gaps import gaps
from market_data.cli.health import health
from market_data.cli.housekeeping import tidy
from market_data.cli.intraday_backfill import intraday
from market_data.cli.plot import plot
from market_data.cli.quota import quota
from market_data.cli.rebuild import rebuild
from market_data.cli.reconcile import reconcile
from market_data.cli.sandbox import sandbox
from market_data.cli.sync import sync
from market_data.cli.verify import verify
from market_data.errors import MarketDataError

__all__ = ["app", "main"]

app = typer.Typer(
    name="market-data",
    help="A canonical, audited store of US equity prices.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(backfill)
app.command()(demo)
app.command()(sync)
app.command()(gaps)
app.add_typer(intraday, name="intraday")
app.command()(health)
app.command()(feedback)
app.command()(slippage)
app.add_typer(backup, name="backup")
app.command()(tidy)
app.add_typer(alerts, name="alerts")
app.command()(quota)
app.command()(explain)
app.add_typer(actions, name="actions")
app.command(hidden=True)(splits)
app.command()(reconcile)
app.command()(asof)
app.command()(plot)
app.command()(amend)
app.command()(verify)
app.command()(rebuild)
app.add_typer(sandbox, name="sandbox")


@app.callback()
def _commands() -> None:
    """A canonical, audited store of US equity prices."""


def main() -> None:
    """Entry point of `market-data`."""
    try:
        app()
    except MarketDataError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
