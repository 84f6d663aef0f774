"""One typed, frozen `Settings`, from the environment (prefix `MARKET_DATA_`) and one TOML file.

The file is `market_data.toml` in the working directory, or the one `MARKET_DATA_SETTINGS` names; its keys are the
field names below. The environment wins over the file.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from market_data.errors import SettingsError

__all__ = ["Settings", "load_settings"]

PREFIX = "MARKET_DATA_"
FILE_VARIABLE = f"{PREFIX}SETTINGS"
DEFAULT_FILE = Path("market_data.toml")


def _none_when_empty(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


LoopbackUrl = Annotated[str, Field(pattern=r"^http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?/?$")]
SourceName = Literal["stooq_bulk", "vendors", "sandbox", "polygon", "alpha_vantage", "stooq", "yahoo"]
OptionalSource = Annotated[SourceName | None, BeforeValidator(_none_when_empty)]
OptionalPath = Annotated[Path | None, BeforeValidator(_none_when_empty)]


class Settings(BaseSettings):
    """Where things are kept, the window, and the limits of validation.

    Attributes:
        runtime: folder of everything the system writes: `raw/`, `audit/`, `reports/`, `dagster/`.
        database: the canonical DuckDB file; by default under `runtime`, one for real and one for synthetic data.
        archive: a Stooq bulk ASCII folder or zip; when set, it is where bars come from.
        universe: an instruments file to use instead of the packaged one.
        window_start, window_end: the span of the store, both inclusive; partitions are its sessions.
        min_data_quality: least batch score (0 to 1) that is accepted.
        null_threshold: largest share of bars with a null field that is accepted.
        log_return_limit: |ln(close / previous close)| above which a session is flagged.
        stale_sessions: number of sessions with the same close from which a run is called stale.
        volume_outlier_limit: robust z-score of log volume above which a session is flagged.
        concurrency: fetches under way at once, over all vendors; each vendor has a limit of its own.
        retry_wait: seconds before the second attempt of a request; doubled for each further one.
        selection_seed: seed of the draws that choose a vendor.
        source: where bars come from: stooq_bulk, vendors, sandbox, or one vendor; see `default_source`.
        providers: a providers file to use instead of the packaged one.
        sandbox_providers: the same for the vendors the sandbox plays.
        lock_patience: seconds to wait for the database or for another ingest to finish.
        sandbox_url: a running sandbox; when unset, an embedded one is started on demand.
        sandbox_seed: seed of the synthetic market.
        reconcile_share: share of the symbols whose bars a reconciliation compares with other vendors'.
        reconcile_vendors: other vendors it compares each with, if their quotas can spare the calls.
        reconcile_ticks: cents by which two vendors' prices may differ.
        reconcile_volume_share: share of the larger by which their volumes may.
        keep_current: whether sessions after the window, up to yesterday, belong to the store as well.
        sync_days: calendar days that the nightly sync looks back for what is missing.
        settle_sessions: sessions that are pulled once more after a day, since vendors restate volume after the close.
        gap_calls: calls a UTC day that filling of older gaps may send.
        gap_tries: times a gap is asked for in vain before it is taken for one that nobody can fill.
        intraday_symbols: whose minutes are polled: empty for nobody's, all, a list as in AAPL,MSFT, or @FILE.
        intraday_poll: seconds from one poll to the next.
        intraday_grace: minutes after the close for which polling goes on.
        intraday_settle: seconds after its end for which a minute may still change.
        feedback: folder that files of executions are dropped in; by default `feedback/` under `runtime`.
        alert_webhook: URL that alerts are posted to as Slack takes them; a secret.
        alerts_an_hour: alerts sent an hour at most; what is more is counted and told with the next one.
        ui_url: where links of alerts lead to.
        keep_events: days that Dagster's event log and runs are kept for.
        keep_logs: days that logs of computation, schedules and sensors are kept for.
        keep_polls: days that the answers of intraday polls are kept for.
        backups: folder of backups; by default `backups/` under `runtime`.
        keep_backups: backups that are kept.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    runtime: Path = Path("runtime")
    database: OptionalPath = None
    archive: OptionalPath = None
    universe: OptionalPath = None
    source: OptionalSource = None
    providers: OptionalPath = None
    sandbox_providers: OptionalPath = None
    window_start: date = date(2021, 1, 19)
    window_end: date = date(2026, 1, 19)
    min_data_quality: Annotated[float, Field(ge=0, le=1)] = 0.6
    null_threshold: Annotated[float, Field(ge=0, le=1)] = 0.05
    log_return_limit: Annotated[float, Field(gt=0, le=10)] = 0.5
    stale_sessions: Annotated[int, Field(ge=2, le=1000)] = 5
    volume_outlier_limit: Annotated[float, Field(gt=0, le=1000)] = 12.0
    concurrency: Annotated[int, Field(ge=1, le=64)] = 16
    retry_wait: Annotated[float, Field(ge=0, le=60)] = 0.5
    selection_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    lock_patience: Annotated[float, Field(ge=0, le=3600)] = 30.0
    sandbox_url: Annotated[LoopbackUrl | None, BeforeValidator(_none_when_empty)] = None
    sandbox_seed: Annotated[int, Field(ge=0, lt=2**32)] = 20210119
    reconcile_share: Annotated[float, Field(gt=0, le=1)] = 0.02
    reconcile_vendors: Annotated[int, Field(ge=1, le=10)] = 2
    reconcile_ticks: Annotated[float, Field(ge=0.01, le=10_000)] = 1.0
    reconcile_volume_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    keep_current: bool = True
    sync_days: Annotated[int, Field(ge=1, le=60)] = 7
    settle_sessions: Annotated[int, Field(ge=0, le=10)] = 3
    gap_calls: Annotated[int, Field(ge=0, le=100_000)] = 200
    gap_tries: Annotated[int, Field(ge=1, le=20)] = 3
    intraday_symbols: str = ""
    intraday_poll: Annotated[float, Field(ge=1, le=3600)] = 30.0
    intraday_grace: Annotated[float, Field(ge=0, le=240)] = 15.0
    intraday_settle: Annotated[float, Field(ge=0, le=3600)] = 60.0
    feedback: OptionalPath = None
    alert_webhook: Annotated[SecretStr | None, BeforeValidator(_none_when_empty)] = None
    alerts_an_hour: Annotated[int, Field(ge=1, le=1000)] = 20
    ui_url: Annotated[str, Field(pattern=r"^https?://\S+$")] = "http://127.0.0.1:3000"
    keep_events: Annotated[int, Field(ge=1, le=3650)] = 90
    keep_logs: Annotated[int, Field(ge=1, le=3650)] = 30
    keep_polls: Annotated[int, Field(ge=1, le=3650)] = 30
    backups: OptionalPath = None
    keep_backups: Annotated[int, Field(ge=1, le=1000)] = 7

    @model_validator(mode="after")
    def _window_is_ordered(self) -> Self:
        if self.window_start > self.window_end:
            raise ValueError(
                f"window_start {self.window_start} is after window_end {self.window_end}; start must not be later"
            )
        return self

    @property
    def default_source(self) -> str:
        """`source` when set; else `stooq_bulk` once an archive is configured, the synthetic `sandbox` until then."""
        return self.source or ("stooq_bulk" if self.archive else "sandbox")

    def calls_file(self, *, synthetic: bool) -> Path:
        """The ledger of calls sent to vendors; calls to the sandbox count apart."""
        return self.runtime / ("calls_synthetic.sqlite" if synthetic else "calls.sqlite")

    def rates_file(self, *, synthetic: bool) -> Path:
        """The sliding counts of the vendors' rates."""
        return self.runtime / ("rates_synthetic.sqlite" if synthetic else "rates.sqlite")

    def database_for(self, *, synthetic: bool) -> Path:
        """The database file: `database` when set, else one file each for real and synthetic data."""
        if self.database is not None:
            return self.database
        return self.runtime / ("synthetic.duckdb" if synthetic else "market_data.duckdb")

    def raw_folder(self, *, synthetic: bool) -> Path:
        """Folder of the content-addressed payloads; synthetic ones lie apart, so that no rebuild mixes them in."""
        return self.runtime / "raw" / "synthetic" if synthetic else self.runtime / "raw"

    @property
    def sandbox_clock_file(self) -> Path:
        """What time it is in the sandbox, once it was set."""
        return self.runtime / "sandbox_clock.json"

    @property
    def feedback_folder(self) -> Path:
        """Where files of executions are dropped."""
        return self.feedback or self.runtime / "feedback"

    @property
    def backups_folder(self) -> Path:
        """Folder of backups."""
        return self.backups or self.runtime / "backups"

    @property
    def audit_folder(self) -> Path:
        """Folder of the JSONL audit files."""
        return self.runtime / "audit"

    @property
    def reports_folder(self) -> Path:
        """Folder of reports."""
        return self.runtime / "reports"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Explicit arguments first, then the environment, then the file."""
        file = _settings_file()
        sources = (init_settings, env_settings)
        return (*sources, TomlConfigSettingsSource(settings_cls, file)) if file else sources


def _settings_file() -> Path | None:
    named = os.environ.get(FILE_VARIABLE, "").strip()
    file = Path(named) if named else DEFAULT_FILE
    if named and not file.is_file():
        raise SettingsError(f"{FILE_VARIABLE}={named}: no such file")
    return file if file.is_file() else None


def _refuse_unknown_variables() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {FILE_VARIABLE}
    for variable in os.environ:
        if variable.startswith(PREFIX) and variable not in known:
            close = difflib.get_close_matches(variable, known, n=1)
            meant = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"
            raise SettingsError(f"{variable} is not a setting{meant}")


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        field = str(item["loc"][0]) if item["loc"] else ""
        message = item["msg"].removeprefix("Value error, ")
        if not field:
            lines.append(message)
        elif item["type"] == "extra_forbidden":
            lines.append(f"{field} is not a setting; known are {', '.join(sorted(Settings.model_fields))}")
        else:
            lines.append(f"{PREFIX}{field.upper()} ({field}): {item['input']!r} is not allowed: {message}")
    return "; ".join(lines)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings once, checked as a whole.

    Args:
        overrides: field values that win over environment and file; None means "not given".

    Raises:
        SettingsError: names the key, the value and what is allowed.
    """
    _refuse_unknown_variables()
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{_settings_file()}: not valid TOML: {error}") from None
