"""`market-data sandbox`: the synthetic market as a server of its own, speaking as the vendors do."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from market_data.cli import show
from market_data.cli.interrupt import stop_on_interrupt
from market_data.instruments import load_universe
from market_data.sandbox.faults import FAULT_KINDS, Fault, parse_fault, parse_limit
from market_data.sandbox.vendors import VENDORS
from market_data.settings import load_settings

if TYPE_CHECKING:
    from market_data.sandbox.server import Sandbox

__all__ = ["sandbox"]

_DATE = ["%Y-%m-%d"]
_FAULT_HELP = (
    "What to fail at: vendor:kind[:first=N][:last=N][:share=S][:symbols=A,B][:value=V], as in "
    f"polygon:rate_limit:last=40:value=1. Kinds: {', '.join(FAULT_KINDS)}. May be given several times."
)


def sandbox(
    *,
    port: Annotated[int, typer.Option(help="Port on loopback; 0 for any that is free.")] = 8765,
    seed: Annotated[int | None, typer.Option(help="Seed of the synthetic market.")] = None,
    start: Annotated[datetime | None, typer.Option(formats=_DATE, help="First day of the market.")] = None,
    end: Annotated[datetime | None, typer.Option(formats=_DATE, help="Last day of the market.")] = None,
    fault: Annotated[list[str] | None, typer.Option(help=_FAULT_HELP)] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="vendor:calls/seconds, as in polygon:5/60. May be given several times.")
    ] = None,
) -> None:
    """Serve the synthetic market on loopback until Ctrl-C, in the wire formats of all vendors.

    Seed, start and end are those of the settings unless given.
    """
    # Only this command needs a server.
    from market_data.sandbox.server import Sandbox

    settings = load_settings(sandbox_seed=seed, window_start=start and start.date(), window_end=end and end.date())
    served = Sandbox(
        load_universe(settings.universe),
        start=settings.window_start,
        end=settings.window_end,
        seed=settings.sandbox_seed,
        port=port,
        faults=[parse_fault(text) for text in fault or ()],
        limits=[parse_limit(text) for text in limit or ()],
    )
    with stop_on_interrupt() as stop, served:
        _tell(show.out(), served)
        # Waiting for a while at a time lets Ctrl-C through on every platform.
        while not stop.wait(0.5):
            pass
    show.out().print("stopped")


def _tell(console: Console, served: Sandbox) -> None:
    market = served.market
    console.print(f"[bold yellow]{show.SYNTHETIC}[/]")
    console.print(
        f"{len(market.universe)} symbols, {market.start} to {market.end}, seed {market.seed}, "
        f"{len(served.manifest.defects)} planted faults",
        highlight=False,
    )
    for vendor in VENDORS:
        console.print(f"  {vendor:<15}{served.url}/{vendor}", markup=False, soft_wrap=True)
    for fault in served.faults:
        console.print(f"  fails: {_text(fault)}", markup=False, soft_wrap=True)
    console.print("to use it, in another terminal:")
    console.print(f"  export MARKET_DATA_SANDBOX_URL={served.url}", markup=False, soft_wrap=True)
    console.print("any key that is not empty is taken; Polygon and Alpha Vantage want one")
    console.print(
        f"planted: {served.url}/manifest  asked: {served.url}/calls  faults: {served.url}/faults", soft_wrap=True
    )
    console.print("Ctrl-C ends it", highlight=False)


def _text(fault: Fault) -> str:
    """The fault as `--fault` takes it."""
    given = {
        "first": None if fault.first == 1 else fault.first,
        "last": fault.last,
        "share": None if fault.share == 1 else fault.share,
        "symbols": ",".join(sorted(fault.symbols)) if fault.symbols else None,
        "value": fault.value,
    }
    shown = {name: f"{value:g}" if isinstance(value, float) else value for name, value in given.items()}
    options = [f"{name}={value}" for name, value in shown.items() if value is not None]
    return ":".join([fault.vendor, fault.kind, *options])
