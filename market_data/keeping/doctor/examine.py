"""All checks, in the order a person mends things in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from market_data.clock import Clock, utc_now
from market_data.errors import SettingsError
from market_data.keeping.doctor import configuration, orchestration, software, store
from market_data.keeping.doctor.check import Check, failed, guarded
from market_data.settings import Settings, load_settings

__all__ = ["examine", "setup_checks"]


def examine(environ: Mapping[str, str] = os.environ, *, wall: Clock = utc_now) -> list[Check]:
    """Look at everything; nothing is changed and no provider is asked.

    With settings that cannot be read, what depends on them is left out, and their check says so.

    Args:
        environ: where keys and DAGSTER_HOME are looked for.
        wall: the wall clock.
    """
    checks = [*guarded("python", software.python), *guarded("packages", software.packages)]
    try:
        settings = load_settings()
    except SettingsError as error:
        told = f"{error}; what depends on the settings was not looked at"
        checks.append(
            failed("settings", told, "mend the variable or the file; market-data init --force writes a new one")
        )
        return [*checks, *guarded("DAGSTER_HOME", lambda: orchestration.home(environ))]
    for name, look in _dependent(settings, environ, wall).items():
        checks += guarded(name, look)
    return checks


def setup_checks(environ: Mapping[str, str] = os.environ) -> list[Check]:
    """The checks of what a person sets up: archive, providers, universe and keys.

    Raises:
        SettingsError: the settings cannot be read.
    """
    wanted = ("archive", "providers", "universe", "keys")
    looks = _dependent(load_settings(), environ, utc_now)
    return [check for name in wanted for check in guarded(name, looks[name])]


def _dependent(settings: Settings, environ: Mapping[str, str], wall: Clock) -> dict[str, Callable[[], Iterator[Check]]]:
    return {
        "settings": lambda: configuration.source(settings, environ),
        "universe": lambda: configuration.universe(settings),
        "providers": lambda: configuration.providers(settings),
        "archive": lambda: configuration.archive(settings),
        "keys": lambda: configuration.keys(settings, environ),
        "quotas": lambda: configuration.quotas(settings, environ),
        "clock": lambda: store.clock(settings, wall),
        "runtime": lambda: store.runtime(settings),
        "disk": lambda: store.disk(settings),
        "database": lambda: store.databases(settings),
        "ingest lock": lambda: store.ingest_lock(settings),
        "leftovers": lambda: store.leftovers(settings, wall),
        "DAGSTER_HOME": lambda: orchestration.home(environ),
        "daemon": lambda: orchestration.daemon(settings, environ, wall),
        "UI port": lambda: orchestration.port(settings),
    }
