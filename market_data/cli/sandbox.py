"""`market-data sandbox`: the synthetic market as a server of its own, speaking as the vendors do, and its clock."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from market_data.cli import show
from market_data.cli.interrupt import stop_on_interrupt
from market_data.clock import SandboxClock
from market_data.errors import SettingsError
from market_data.instruments import load_universe
from market_data.sandbox.faults import FAULT_KINDS, Fault, parse_fault, parse_limit
from market_data.sandbox.pace import moved_on, open_session, start_of_clock
from market_data.sandbox.vendors import VENDORS
from market_data.sessions import last_completed_session
from market_data.settings import Settings, load_settings

if TYPE_CHECKING:
    from market_data.sandbox.server import Sandbox

__all__ = ["sandbox"]

_DATE = ["%Y-%m-%d"]
_FAULT_HELP = (
    "What to fail at: vendor:kind[:first=N][:last=N][:share=S][:symbols=A,B][:value=V], as in "
    f"polygon:rate_limit:last=40:value=1. Kinds: {', '.join(FAULT_KINDS)}. May be given several times."
)


sandbox = typer.Typer(invoke_without_command=True)


@sandbox.callback()
def _serve(
    context: typer.Context,
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

    Seed, start and end are those of the settings unless given. It goes by the sandbox's clock, also when that is set
    later on: market-data sandbox clock --help

    Example: market-data sandbox --port 8765 --fault polygon:rate_limit:last=40:value=1
    """
    if context.invoked_subcommand is not None:
        return
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
        clock=SandboxClock(settings.sandbox_clock_file),
    )
    with stop_on_interrupt() as stop, served:
        _tell(show.out(), served, SandboxClock(settings.sandbox_clock_file))
        # Waiting for a while at a time lets Ctrl-C through on every platform.
        while not stop.wait(0.5):
            pass
    show.out().print("stopped")


@sandbox.command()
def clock(
    *,
    instant: Annotated[
        str | None, typer.Option("--set", help="The instant it is to show, with its zone: 2026-01-21T00:10Z.")
    ] = None,
    advance: Annotated[
        str | None,
        typer.Option(help="Move it on: 30m, 6h, 1d, or '1 session', to 00:10 UTC after the next close."),
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Its seconds for a second of the wall clock.")] = None,
    stand: Annotated[bool, typer.Option("--stand", help="Let it stand still; the same as --rate 0.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Let it be the wall clock again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
) -> None:
    """Show or set what time it is in the sandbox: in its market, and for all that works on the synthetic store.

    A clock that was never set begins after the window.

    Example: market-data sandbox clock --advance "1 session"
    """
    settings = load_settings()
    held = SandboxClock(settings.sandbox_clock_file)
    _refuse_contradictions(instant=instant, advance=advance, rate=rate, stand=stand, reset=reset)
    if reset:
        held.reset()
    elif instant is not None or advance is not None or rate is not None or stand:
        start = _parsed(instant) if instant is not None else _shown(held, settings)
        if start < datetime.combine(settings.window_start, time(0), UTC):
            raise SettingsError(
                f"{start:%Y-%m-%d %H:%M} UTC: the market begins on {settings.window_start}; give a later instant"
            )
        target = start if advance is None else moved_on(start, advance)
        held.set(target, rate=0.0 if stand else _kept_rate(held) if rate is None else rate)
    _show_clock(held, settings, as_json=as_json)


def _refuse_contradictions(
    *, instant: str | None, advance: str | None, rate: float | None, stand: bool, reset: bool
) -> None:
    if instant is not None and advance is not None:
        raise SettingsError("--set and --advance cannot be given together; give one, then the other")
    if rate is not None and stand:
        raise SettingsError("--rate and --stand cannot be given together; --stand is --rate 0")
    if reset and (instant is not None or advance is not None or rate is not None or stand):
        raise SettingsError("--reset is given alone; leave the other options away")


def _kept_rate(held: SandboxClock) -> float:
    """Its rate; that of the wall clock where its file is damaged, which setting it anew mends."""
    try:
        return held.rate
    except SettingsError:
        return 1.0


def _parsed(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"--set {text!r} is not an instant; write it as in 2026-01-21T00:10Z") from None
    if instant.tzinfo is None:
        raise SettingsError(f"--set {text!r} has no time zone; write it as in 2026-01-21T00:10Z")
    return instant.astimezone(UTC)


def _shown(held: SandboxClock, settings: Settings) -> datetime:
    return held() if held.is_set else start_of_clock(settings.window_end)


def _show_clock(held: SandboxClock, settings: Settings, *, as_json: bool) -> None:
    is_set, now = held.is_set, held()
    session = open_session(now)
    document = {
        "synthetic": True,
        "set": is_set,
        "instant": now.isoformat(timespec="seconds"),
        "rate": held.rate,
        "open_session": None if session is None else session.isoformat(),
        "last_completed_session": last_completed_session(now).isoformat(),
        "file": str(held.file),
    }
    if as_json:
        print(json.dumps(document))
        return
    console = show.out()
    fast = "as fast as" if held.rate == 1 else f"{held.rate:g} times as fast as"
    pace = f"runs {fast} the wall clock" if held.rate else "stands"
    console.print(f"[bold yellow]{show.SYNTHETIC}[/]")
    if is_set:
        console.print(f"the sandbox's clock shows {now:%Y-%m-%d %H:%M:%S} UTC and {pace}", soft_wrap=True)
        told = "no session is open" if session is None else f"the session of {session} is open"
        console.print(f"{told}; the last completed one is {document['last_completed_session']}")
    else:
        console.print(f"the sandbox's clock is not set: its market stands at its end, {settings.window_end}")
        console.print("--set, --advance or --rate sets it", markup=False)


def _tell(console: Console, served: Sandbox, held: SandboxClock) -> None:
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
    if held.is_set:
        console.print(f"its clock shows {held():%Y-%m-%d %H:%M:%S} UTC", markup=False)
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
