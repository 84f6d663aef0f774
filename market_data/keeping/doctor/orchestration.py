"""DAGSTER_HOME, the daemon's heartbeat, and the port of the UI. Reads Dagster's files; imports nothing of it."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from market_data.clock import Clock, utc_now
from market_data.keeping.doctor.check import Check, failed, ok, warned
from market_data.settings import Settings

__all__ = ["daemon", "home", "port"]

_INSTANCE = "market_data.defs.instance"
_ALIVE = timedelta(minutes=5)


def home(environ: Mapping[str, str] = os.environ) -> Iterator[Check]:
    """Whether DAGSTER_HOME names the folder of this project's dagster.yaml."""
    named = environ.get("DAGSTER_HOME", "").strip()
    mend = "export DAGSTER_HOME=$PWD in the project's folder; make ui and make demo do so"
    if not named:
        yield warned("DAGSTER_HOME", "not set; Dagster would keep its history nowhere", mend)
        return
    file = Path(named) / "dagster.yaml"
    if not Path(named).is_absolute():
        yield failed("DAGSTER_HOME", f"{named}: not an absolute path, which Dagster wants", mend)
    elif not file.is_file():
        yield failed("DAGSTER_HOME", f"{file}: there is no such file", mend)
    elif _INSTANCE not in file.read_text(encoding="utf-8"):
        yield warned("DAGSTER_HOME", f"{file}: not this project's; its event log would be slow", mend)
    else:
        yield ok("DAGSTER_HOME", named)


def daemon(settings: Settings, environ: Mapping[str, str] = os.environ, wall: Clock = utc_now) -> Iterator[Check]:
    """When Dagster's daemon, which runs schedules and sensors, last gave a sign of life."""
    folder = Path(environ.get("DAGSTER_HOME", "").strip() or ".") / settings.runtime / "dagster"
    file = folder / "history" / "runs.db"
    beat = _last_beat(file) if file.is_file() else None
    mend = "make ui runs it; without it nothing is kept current by itself"
    if beat is None:
        yield warned("daemon", "has not run here so far", mend)
    elif wall() - beat > _ALIVE:
        yield warned("daemon", f"gave its last sign of life at {beat:%Y-%m-%d %H:%M} UTC", mend)
    else:
        yield ok("daemon", f"alive, at {beat:%Y-%m-%d %H:%M} UTC")


def port(settings: Settings) -> Iterator[Check]:
    """Whether the port of the UI is free."""
    address = urlsplit(settings.ui_url)
    host, number = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
    if host not in ("127.0.0.1", "localhost", "::1"):
        yield ok("UI port", f"{settings.ui_url} is not on this machine's loopback, and was not looked at")
        return
    with closing(socket.socket(socket.AF_INET6 if host == "::1" else socket.AF_INET)) as tried:
        tried.settimeout(1)
        is_taken = tried.connect_ex((host, number)) == 0
    if is_taken:
        yield warned(
            "UI port", f"{number} is in use: by a UI that runs, or by something else", f"open {settings.ui_url}"
        )
    else:
        yield ok("UI port", f"{number} is free")


def _last_beat(file: Path) -> datetime | None:
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=1)) as connection:
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'daemon_heartbeats'").fetchall()
        rows = connection.execute("SELECT max(timestamp) FROM daemon_heartbeats").fetchall() if known else []
    return datetime.fromisoformat(rows[0][0]).replace(tzinfo=UTC) if rows and rows[0][0] else None
