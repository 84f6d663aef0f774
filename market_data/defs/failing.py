"""Errors of a run as the UI shows them: the reason in a sentence, and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import dagster as dg

from market_data.errors import (
    ArchiveError,
    MarketDataError,
    ProviderError,
    QuotaExhausted,
    RawStoreError,
    SettingsError,
    SymbolError,
    UniverseError,
    WarehouseError,
    WarehouseLocked,
)

__all__ = ["NEXT_STEP", "failure", "plainly", "told_plainly"]

P = ParamSpec("P")
R = TypeVar("R")

NEXT_STEP = "what to do next"
"""Name of the metadata that a failed step, and a check that did not pass, tell it by."""

_STEPS = (
    (
        WarehouseLocked,
        "close the program that holds the database, or wait for the run that writes; then Re-execute from failure",
    ),
    (
        WarehouseError,
        "`market-data verify` tells what is wrong with the store; `market-data rebuild --from-raw` makes it anew from "
        "the raw store",
    ),
    (RawStoreError, "`market-data verify` names every payload that is lost or altered; restore them from a backup"),
    (SymbolError, "correct `symbols` in the Launchpad, or add the instrument to the universe file; then launch again"),
    (UniverseError, "mend the line of the universe file that is named, reload the definitions, launch again"),
    (SettingsError, "correct the setting or the Launchpad's value that is named; then launch again"),
    (ArchiveError, "put the archive where MARKET_DATA_ARCHIVE names it, whole; then launch again"),
    (
        QuotaExhausted,
        "wait until the quota's day or month ends; the asset provider_health and `market-data quota` tell when",
    ),
    (ProviderError, "look at the asset provider_health; then Re-execute from failure: what was answered is kept"),
    (MarketDataError, "mend what the reason names; then Re-execute from failure: what was done is kept"),
)


def failure(reason: str, step: str, metadata: dict[str, Any] | None = None) -> dg.Failure:
    """A failed step that nobody but a person can mend: the reason, and what this person does next."""
    told = {NEXT_STEP: step} | (metadata or {})
    return dg.Failure(f"{reason}; next: {step}", metadata=told, allow_retries=False)


@contextmanager
def plainly() -> Iterator[None]:
    """Errors of the project within become a `Failure` with the step that mends them; others pass."""
    try:
        yield
    except MarketDataError as error:
        step = next(step for kind, step in _STEPS if isinstance(error, kind))
        raise failure(f"{type(error).__name__}: {error}", step) from error


def told_plainly(body: Callable[P, R]) -> Callable[P, R]:
    """The body of an asset whose errors are told as `plainly` does."""

    @wraps(body)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        with plainly():
            return body(*args, **kwargs)

    return told
