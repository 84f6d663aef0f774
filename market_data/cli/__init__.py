"""The command line, `market-data`.

Exit codes: 0 done; 1 a symbol was rejected, failed or has no data, vendors differ, or something is not whole; 2 bad
input, nothing was done; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

import market_data
from market_data.cli.ending import INTERRUPTED, tell_end
from market_data.cli.lazy import CommandGroup, dashed
from market_data.errors import MarketDataError

__all__ = ["app", "main"]

_EPILOG = """Exit codes: 0 done; 1 something needs a person; 2 bad input, nothing was done; 130 interrupted.

Settings come from variables MARKET_DATA_..., then from market_data.toml in the working directory (init writes it, doctor checks it); vendors' keys from variables alone.

Every command takes --json, but for servers; --job_id is --job-id. market-data COMMAND --help has examples."""  # noqa: E501 - a line a paragraph

app = typer.Typer(
    name="market-data",
    cls=CommandGroup,
    help="A canonical, audited store of US equity prices.\n\nExample: market-data demo, then market-data plot NKE",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": dashed},
)


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"market-data {market_data.__version__}")
        raise typer.Exit


@app.callback()
def _commands(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A canonical, audited store of US equity prices."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `market-data`; always ends with `SystemExit`.

    Args:
        arguments: by default those of the process.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    as_json = "--json" in given
    try:
        # By itself typer tells of misuse in a panel, which is of no use to a program.
        code = app(given, prog_name="market-data", standalone_mode=not as_json)
    except BaseException as error:
        if (end := _end_of(error)) is None:
            raise
        message, kind, code = end
        tell_end(message, kind=kind, code=code, as_json=as_json)
    sys.exit(code if isinstance(code, int) else 0)


def _end_of(error: BaseException) -> tuple[str, str, int] | None:
    """What to say of an error, its kind and the exit code; None of one that is a defect of the program."""
    kind = type(error).__name__
    if isinstance(error, MarketDataError):
        return str(error), kind, 2
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "Interrupted", 130
    if isinstance(error, typer.Abort):
        return "not confirmed, nothing was changed", "NotConfirmed", 1
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        mend = "check the path, its permissions and the room on the disk"
        return f"{place}{error.strerror or error}; {mend}", kind, 1
    # What typer says of arguments that it does not take; it does not export the class.
    format_message: Any = getattr(error, "format_message", None)
    return None if format_message is None else (str(format_message()), "UsageError", 2)
