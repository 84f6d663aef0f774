from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from market_data.errors import MarketDataError, SettingsError
from market_data.settings import load_settings


def write(text: str | bytes, name: str = "market_data.toml") -> Path:
    path = Path(name)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(**overrides) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(**overrides)
    return str(caught.value)


def test_without_environment_and_file_the_documented_defaults_hold():
    settings = load_settings()
    assert settings.model_dump() == {
        "runtime": Path("runtime"),
        "database": None,
        "archive": None,
        "universe": None,
        "source": None,
        "providers": None,
        "sandbox_providers": None,
        "window_start": date(2021, 1, 19),
        "window_end": date(2026, 1, 19),
        "min_data_quality": 0.6,
        "null_threshold": 0.05,
        "log_return_limit": 0.5,
        "stale_sessions": 5,
        "volume_outlier_limit": 12.0,
        "concurrency": 16,
        "retry_wait": 0.5,
        "selection_seed": 0,
        "lock_patience": 30.0,
        "sandbox_url": None,
        "sandbox_seed": 20210119,
        "reconcile_share": 0.02,
        "reconcile_vendors": 2,
        "reconcile_ticks": 1.0,
        "reconcile_volume_share": 0.05,
        "keep_current": True,
        "sync_days": 7,
        "settle_sessions": 3,
        "gap_calls": 200,
        "gap_tries": 3,
        "intraday_symbols": "",
        "intraday_poll": 30.0,
        "intraday_grace": 15.0,
        "intraday_settle": 60.0,
        "feedback": None,
        "alert_webhook": None,
        "alerts_an_hour": 20,
        "ui_url": "http://127.0.0.1:3000",
        "keep_events": 90,
        "keep_logs": 30,
        "keep_polls": 30,
        "backups": None,
        "keep_backups": 7,
    }


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("min_data_quality", "1.01", "less than or equal to 1"),
        ("min_data_quality", "-0.01", "greater than or equal to 0"),
        ("min_data_quality", "nan", "less than or equal to 1"),
        ("min_data_quality", "high", "a valid number"),
        ("null_threshold", "2", "less than or equal to 1"),
        ("null_threshold", "nan", "less than or equal to 1"),
        ("log_return_limit", "0", "greater than 0"),
        ("log_return_limit", "nan", "less than or equal to 10"),
        ("log_return_limit", "10.5", "less than or equal to 10"),
        ("stale_sessions", "1", "greater than or equal to 2"),
        ("stale_sessions", "2.5", "a valid integer"),
        ("volume_outlier_limit", "inf", "less than or equal to 1000"),
        ("volume_outlier_limit", "0", "greater than 0"),
        ("concurrency", "0", "greater than or equal to 1"),
        ("concurrency", "65", "less than or equal to 64"),
        ("concurrency", "four", "a valid integer"),
        ("lock_patience", "-1", "greater than or equal to 0"),
        ("lock_patience", "3601", "less than or equal to 3600"),
        ("window_start", "yesterday", "a valid date"),
        ("window_start", "2021-02-30", "a valid date"),
        ("window_end", "19/01/2026", "a valid date"),
        ("window_end", "20260119", "zero time"),
        ("sandbox_seed", "-1", "greater than or equal to 0"),
        ("sandbox_seed", "4294967296", "less than 4294967296"),
    ],
)
def test_a_bad_value_is_refused_with_its_variable_its_value_and_what_is_allowed(monkeypatch, field, value, allowed):
    variable = f"MARKET_DATA_{field.upper()}"
    monkeypatch.setenv(variable, value)
    message = refused()
    assert message.startswith(f"{variable} ({field}): {value!r} is not allowed: ")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("field", "value"), [("concurrency", 1), ("concurrency", 64), ("stale_sessions", 2), ("lock_patience", 0.0)]
)
def test_values_at_their_limits_are_allowed(monkeypatch, field, value):
    monkeypatch.setenv(f"MARKET_DATA_{field.upper()}", str(value))
    assert getattr(load_settings(), field) == value


def test_every_bad_value_is_named_at_once(monkeypatch):
    monkeypatch.setenv("MARKET_DATA_CONCURRENCY", "0")
    monkeypatch.setenv("MARKET_DATA_STALE_SESSIONS", "1")
    message = refused()
    assert "MARKET_DATA_CONCURRENCY (concurrency): '0'" in message
    assert "MARKET_DATA_STALE_SESSIONS (stale_sessions): '1'" in message


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "https://127.0.0.1:8000",
        "http://127.0.0.1.example.com",
        "http://localhost@example.com",
        "http://127.0.0.1:8000/other",
        "http://127.0.0.1:8000\n",
        "127.0.0.1:8000",
    ],
)
def test_a_sandbox_elsewhere_than_on_loopback_is_refused(monkeypatch, url):
    monkeypatch.setenv("MARKET_DATA_SANDBOX_URL", url)
    assert refused().startswith(f"MARKET_DATA_SANDBOX_URL (sandbox_url): {url!r} is not allowed: ")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:1/", "http://[::1]:8000"])
def test_a_sandbox_on_loopback_is_allowed(monkeypatch, url):
    monkeypatch.setenv("MARKET_DATA_SANDBOX_URL", url)
    assert load_settings().sandbox_url == url


def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant(monkeypatch):
    monkeypatch.setenv("MARKET_DATA_CONCURENCY", "2")
    assert refused() == "MARKET_DATA_CONCURENCY is not a setting; did you mean MARKET_DATA_CONCURRENCY?"


@pytest.mark.parametrize(
    "field", ["database", "archive", "universe", "source", "providers", "sandbox_providers", "sandbox_url"]
)
@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_optional_variable_means_unset(monkeypatch, field, empty):
    monkeypatch.setenv(f"MARKET_DATA_{field.upper()}", empty)
    assert getattr(load_settings(), field) is None


def test_an_empty_runtime_does_not_turn_the_working_directory_into_the_store(monkeypatch):
    monkeypatch.setenv("MARKET_DATA_RUNTIME", "")
    assert load_settings().runtime == Path("runtime")


def test_the_file_in_the_working_directory_is_read():
    write('runtime = "elsewhere"\nwindow_start = 2022-01-03\nmin_data_quality = 0.75\nconcurrency = 8\n')
    settings = load_settings()
    assert (settings.runtime, settings.window_start) == (Path("elsewhere"), date(2022, 1, 3))
    assert (settings.min_data_quality, settings.concurrency) == (0.75, 8)


def test_the_environment_wins_over_the_file_and_arguments_over_both(monkeypatch):
    write("concurrency = 8\nstale_sessions = 9\nsandbox_seed = 1\n")
    monkeypatch.setenv("MARKET_DATA_CONCURRENCY", "6")
    monkeypatch.setenv("MARKET_DATA_STALE_SESSIONS", "7")
    settings = load_settings(concurrency=5, stale_sessions=None)
    assert (settings.concurrency, settings.stale_sessions, settings.sandbox_seed) == (5, 7, 1)


def test_the_file_that_the_variable_names_is_read_instead_of_the_default_one(monkeypatch):
    write("concurrency = 8\nstale_sessions = 9\n")
    write("concurrency = 3\n", "other.toml")
    monkeypatch.setenv("MARKET_DATA_SETTINGS", "other.toml")
    settings = load_settings()
    assert (settings.concurrency, settings.stale_sessions) == (3, 5)


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_named_settings_file_that_is_none_is_refused(monkeypatch, name):
    monkeypatch.setenv("MARKET_DATA_SETTINGS", name)
    assert refused() == f"MARKET_DATA_SETTINGS={name}: no such file"


def test_an_unknown_key_of_the_file_is_refused_with_those_that_are_known():
    write("concurency = 8\n")
    message = refused()
    assert message.startswith("concurency is not a setting; known are alert_webhook, alerts_an_hour, archive, ")
    assert message.endswith("window_end, window_start")


def test_a_bad_value_of_the_file_is_refused():
    write("concurrency = 99\n")
    assert "(concurrency): 99 is not allowed: Input should be less than or equal to 64" in refused()


def test_a_table_where_a_value_is_due_is_refused():
    write("[concurrency]\nfetches = 1\n")
    assert "(concurrency): {'fetches': 1} is not allowed" in refused()


def test_broken_toml_is_refused_with_file_and_place():
    write("concurrency = 8\nstale_sessions = = 2\n")
    message = refused()
    assert message.startswith("market_data.toml: not valid TOML: ")
    assert "line 2" in message


def test_a_settings_file_that_is_not_utf_8_is_refused_by_name():
    write(b'runtime = "caf\xe9"\n')
    assert refused().startswith("market_data.toml: ")


def test_an_argument_that_is_no_setting_is_refused():
    assert refused(speed=3).startswith("speed is not a setting; known are ")


def test_a_window_that_ends_before_it_starts_is_refused_with_both_dates(monkeypatch):
    monkeypatch.setenv("MARKET_DATA_WINDOW_START", "2022-01-04")
    monkeypatch.setenv("MARKET_DATA_WINDOW_END", "2022-01-03")
    assert refused() == "window_start 2022-01-04 is after window_end 2022-01-03; start must not be later"


def test_a_window_of_one_day_is_allowed():
    settings = load_settings(window_start=date(2022, 1, 3), window_end=date(2022, 1, 3))
    assert settings.window_start == settings.window_end


def test_settings_cannot_be_changed_once_read():
    settings = load_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.concurrency = 9
    assert settings.concurrency == 16


def test_real_and_synthetic_data_have_a_database_each():
    settings = load_settings(runtime=Path("kept"))
    assert settings.database_for(synthetic=False) == Path("kept/market_data.duckdb")
    assert settings.database_for(synthetic=True) == Path("kept/synthetic.duckdb")


def test_a_database_that_is_set_is_used_for_either():
    settings = load_settings(database=Path("mine.duckdb"))
    assert settings.database_for(synthetic=False) == Path("mine.duckdb")
    assert settings.database_for(synthetic=True) == Path("mine.duckdb")


def test_everything_written_lies_below_runtime_synthetic_payloads_apart():
    settings = load_settings(runtime=Path("kept"))
    assert settings.raw_folder(synthetic=False) == Path("kept/raw")
    assert settings.raw_folder(synthetic=True) == Path("kept/raw/synthetic")
    assert settings.audit_folder == Path("kept/audit")
    assert settings.reports_folder == Path("kept/reports")


def test_bars_come_from_the_archive_once_one_is_set_and_from_the_sandbox_until_then():
    assert load_settings().default_source == "sandbox"
    assert load_settings(archive=Path("stooq.zip")).default_source == "stooq_bulk"
    assert load_settings(archive=Path("stooq.zip"), source="vendors").default_source == "vendors"


def test_a_source_that_there_is_not_is_refused_and_those_that_there_are_named(monkeypatch):
    monkeypatch.setenv("MARKET_DATA_SOURCE", "bloomberg")
    message = refused()
    assert message.startswith("MARKET_DATA_SOURCE (source): 'bloomberg' is not allowed")
    assert all(name in message for name in ("stooq_bulk", "vendors", "sandbox", "polygon"))


def test_calls_to_vendors_and_to_the_sandbox_are_counted_apart():
    settings = load_settings(runtime=Path("kept"))
    assert settings.calls_file(synthetic=False) == Path("kept/calls.sqlite")
    assert settings.calls_file(synthetic=True) == Path("kept/calls_synthetic.sqlite")
    assert settings.rates_file(synthetic=False) != settings.rates_file(synthetic=True)


def test_a_settings_error_is_fit_to_be_shown():
    assert issubclass(SettingsError, MarketDataError)


def test_reading_the_settings_writes_nothing(tmp_path):
    load_settings()
    assert list(tmp_path.iterdir()) == []
