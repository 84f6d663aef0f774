"""Every command of `market-data`: its name, where it lies, the heading it stands under, and what it does in a line.

The modules are imported when their command is asked for, since most of them need pandas and DuckDB, which take longer
to import than `market-data --help` should take as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COMMANDS", "PANELS", "Listed"]

START = "Start"
LOAD = "Load and keep current"
LOOK = "Look and judge"
PRICES = "Prices and features"
MEND = "Mend"
STORE = "Store"
SANDBOX = "Sandbox"
PANELS = (START, LOAD, LOOK, PRICES, MEND, STORE, SANDBOX)
"""Headings of `market-data --help`, in their order."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A command as the list of commands shows it.

    Attributes:
        name: what one types.
        module: where it lies, below `market_data.cli`.
        panel: heading it stands under.
        summary: what it does, for the list.
        attribute: name of the function or `typer.Typer` in the module, where it is not the command's own.
        hidden: whether the list leaves it out.
    """

    name: str
    module: str
    panel: str
    summary: str
    attribute: str = ""
    hidden: bool = False


COMMANDS = (
    Listed("init", "init", START, "Write a settings file, and tell what is missing."),
    Listed("doctor", "doctor", START, "Check versions, settings, keys, clock, disk, locks and Dagster."),
    Listed("demo", "demo", START, "Load five years of a synthetic market, or of an archive."),
    Listed("backfill", "backfill", LOAD, "Load daily bars of a span; tell how far a job is."),
    Listed("sync", "sync", LOAD, "Bring the store up to date, as the nightly schedule does."),
    Listed("gaps", "gaps", LOAD, "Tell which sessions lack a good bar and why; ask for them."),
    Listed("intraday", "intraday_backfill", LOAD, "Poll a session's minutes, load past ones, tell what is held."),
    Listed("actions", "actions", LOAD, "Fetch, import and show splits, dividends and spin-offs."),
    Listed("splits", "actions", LOAD, "The older name of `actions fetch --no-dividends`.", hidden=True),
    Listed("feedback", "feedback", LOAD, "Take files of executions."),
    Listed("report", "report", LOOK, "Report coverage, quality and findings: terminal, HTML, JSON, CSV."),
    Listed("health", "health", LOOK, "Tell how the providers do: answers, errors, latency, quota."),
    Listed("quota", "quota", LOOK, "Tell what is left of each vendor's quotas, and its next call."),
    Listed("explain", "explain", LOOK, "Tell how a symbol's session came to be: who was asked, and why."),
    Listed("reconcile", "reconcile", LOOK, "Compare stored bars with other vendors'."),
    Listed("alerts", "alerts", LOOK, "List the latest alerts; send one that is a test."),
    Listed("plot", "plot", PRICES, "Draw a symbol's prices raw, split-adjusted and total-return."),
    Listed("asof", "asof", PRICES, "Tell what was known of a symbol at the end of a date."),
    Listed("features", "features", PRICES, "Make features from the stored prices; show and list them."),
    Listed("export", "export", PRICES, "Write prices as Parquet, CSV, or for zipline and qlib."),
    Listed("slippage", "feedback", PRICES, "Tell what orders cost beside the stored prices."),
    Listed("amend", "amend", MEND, "Change a stored bar on record, or take that back."),
    Listed("rebuild", "rebuild", MEND, "Make the database anew from the raw payloads, and compare."),
    Listed("verify", "verify", STORE, "Check that payloads, rows and audit are whole."),
    Listed("backup", "backup", STORE, "Make, list, verify and restore backups."),
    Listed("tidy", "housekeeping", STORE, "Remove what is not kept for ever."),
    Listed("sandbox", "sandbox", SANDBOX, "Serve the synthetic market; set its clock."),
)
"""Every command, in the order of the list."""
