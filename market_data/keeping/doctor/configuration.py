"""Settings, providers file, universe, archive, keys, and what is left of the vendors' quotas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from market_data.clock import clock_of
from market_data.ingest.sources import is_synthetic, ledger_of, vendor_catalogue
from market_data.instruments import load_universe
from market_data.keeping.doctor.check import Check, failed, ok, warned
from market_data.providers.catalogue import keys_from_environment
from market_data.providers.registry import CLIENTS
from market_data.selection.quota import shown
from market_data.selection.status import VendorStatus, vendor_statuses
from market_data.settings import Settings
from market_data.settings_file import file_to_write

__all__ = ["archive", "keys", "providers", "quotas", "source", "universe"]

_SPARE = 0.1
"""Share of a quota from which on it is near its end."""


def source(settings: Settings, environ: Mapping[str, str]) -> Iterator[Check]:
    """Where settings come from, and where bars do."""
    file = file_to_write(environ)
    place = f"{file} and the environment" if file.is_file() else "the environment alone, there is no settings file"
    name = settings.default_source
    note = ", SYNTHETIC data" if is_synthetic(name) else ""
    yield ok("settings", f"valid, from {place}; bars come from {name}{note}, into {settings.runtime}")


def archive(settings: Settings) -> Iterator[Check]:
    """The bulk archive, where one is set or needed."""
    if settings.archive is None:
        if settings.source == "stooq_bulk":
            yield failed("archive", "the source is stooq_bulk and no archive is set", "set MARKET_DATA_ARCHIVE")
        return
    if not settings.archive.exists():
        yield failed("archive", f"{settings.archive}: there is no such folder or zip", "set MARKET_DATA_ARCHIVE to it")
    else:
        kind = "a folder" if settings.archive.is_dir() else f"{settings.archive.stat().st_size:,} bytes"
        yield ok("archive", f"{settings.archive}: {kind}")


def universe(settings: Settings) -> Iterator[Check]:
    """The instruments."""
    yield ok("universe", f"{len(load_universe(settings.universe)):,} instruments")


def providers(settings: Settings) -> Iterator[Check]:
    """The providers file."""
    catalogue = vendor_catalogue(settings)
    yield ok("providers", "in use: " + ", ".join(f"{config.name} ({config.tier})" for config in catalogue.values()))


def keys(settings: Settings, environ: Mapping[str, str]) -> Iterator[Check]:
    """Whether the vendors' keys are there; what they are is never told."""
    catalogue = vendor_catalogue(settings)
    given = keys_from_environment(catalogue, environ)
    needed = {config.name: config.key_variable for config in catalogue.values() if config.needs_key}
    missing = {name: variable for name, variable in needed.items() if name not in given}
    held = ", ".join(f"{name} is set" for name in given) or "none is set"
    if not missing:
        yield ok("keys", held)
        return
    lacking = ", ".join(f"{variable} ({name})" for name, variable in missing.items())
    chosen = settings.default_source
    if chosen in missing or (chosen == "vendors" and set(missing) == set(catalogue)):
        yield failed("keys", f"{held}; {chosen} cannot be asked without {lacking}", "export the variable in your shell")
    elif chosen in ("vendors", *CLIENTS):
        yield warned("keys", f"{held}; not set: {lacking}", "export those you have; the others are left out")
    else:
        yield ok("keys", f"{held}; {chosen} needs none. For real vendors: {lacking}")


def quotas(settings: Settings, environ: Mapping[str, str]) -> Iterator[Check]:
    """What is left of the quotas, and who is left alone for now; of the source's vendors."""
    synthetic = is_synthetic(settings.default_source)
    clock = clock_of(settings, synthetic=synthetic)
    catalogue = vendor_catalogue(settings, sandbox_url="http://127.0.0.1" if synthetic else None)
    statuses = vendor_statuses(
        catalogue,
        ledger_of(settings, synthetic=synthetic, clock=clock),
        settings.rates_file(synthetic=synthetic),
        with_key=keys_from_environment(catalogue, environ),
        now=clock(),
    )
    trouble = [text for status in statuses for text in _trouble(status)]
    if trouble:
        yield warned("quotas", "; ".join(trouble), "market-data quota tells when the next call is possible")
    else:
        left = [
            f"{status.config.name} {state.left:,} of {state.quota.limit:,} a {state.quota.period}"
            for status in statuses
            for state in status.standing.quotas[:1]
        ]
        told = f"left: {', '.join(left)}" if left else "no vendor has one"
        yield ok("quotas", told + ("; the sandbox's" if synthetic else ""))


def _trouble(status: VendorStatus) -> Iterator[str]:
    name, closure = status.config.name, status.standing.closure
    if closure is not None:
        yield f"{name} is left alone until {shown(closure.until)}: {closure.error}: {closure.reason}"
    for state in status.standing.quotas:
        if state.left < _SPARE * state.quota.limit:
            yield (
                f"{name} has {state.left:,} of {state.quota.limit:,} calls left a {state.quota.period}, "
                f"until {shown(state.resets_at)}"
            )
