"""`market-data init` and the settings file: every setting with its meaning, nothing overwritten, no key in it."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from market_data.cli import app
from market_data.errors import SettingsError
from market_data.settings import Settings, load_settings
from market_data.settings_file import meanings, settings_text, write_settings
from market_data_tests.conftest import PROJECT

FILE = Path("market_data.toml")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["init", *arguments])


def all_set(text: str) -> str:
    """The file with every default's mark taken away."""
    lines = text.splitlines()
    return "\n".join(
        line[2:] if line.startswith("# ") and " = " in line and line[2].islower() else line for line in lines
    )


def test_every_setting_is_told_with_its_meaning() -> None:
    text = settings_text({})
    assert set(meanings()) == set(Settings.model_fields)
    for name in Settings.model_fields:
        told = f"\n# {name} = " if name != "alert_webhook" else "MARKET_DATA_ALERT_WEBHOOK"
        assert text.count(told) == 1, name
    assert all(line.startswith("#") for line in text.splitlines() if line)
    assert "# --- Other ---" not in text


def test_the_defaults_that_are_told_are_the_defaults() -> None:
    written = tomllib.loads(all_set(settings_text({})))
    defaults = Settings()
    assert set(written) == set(Settings.model_fields) - {"alert_webhook"}
    assert Settings(**written) == defaults
    FILE.write_text(settings_text({}), encoding="utf-8")
    assert load_settings() == defaults


@settings(max_examples=25)
@given(path=st.text(st.characters(exclude_categories=["Cs"])))
@example(path='C:\\new\t"x"\x7f\x00')
def test_any_path_comes_back_as_it_was_given(path: str) -> None:
    assert tomllib.loads(settings_text({"archive": path, "runtime": path})) == {"archive": path, "runtime": path}


def test_it_writes_what_was_given_and_says_what_comes_next() -> None:
    done = run("--archive", "some/d_us_txt.zip", "--runtime", "elsewhere")

    assert done.exit_code == 0
    written = load_settings()
    assert (written.archive, written.runtime) == (Path("some/d_us_txt.zip"), Path("elsewhere"))
    assert written.default_source == "stooq_bulk"
    assert done.stdout.startswith("market_data.toml: written; bars come from stooq_bulk\n")
    assert "missing: archive: some/d_us_txt.zip: there is no such folder or zip" in done.stdout
    assert "next: market-data doctor, then market-data backfill" in done.stdout
    assert stat.S_ISREG(FILE.stat().st_mode)


def test_a_file_that_is_there_is_overwritten_with_force_alone(capsys: pytest.CaptureFixture[str]) -> None:
    FILE.write_text("runtime = 'mine'\n", encoding="utf-8")

    refused = run("--source", "vendors")

    assert isinstance(refused.exception, SettingsError)
    assert "exists already and was left as it is; give --force" in str(refused.exception)
    assert FILE.read_text(encoding="utf-8") == "runtime = 'mine'\n"
    FILE.write_text("this is = [no toml", encoding="utf-8")
    assert run("--source", "vendors", "--force").exit_code == 0
    assert load_settings().source == "vendors"
    assert [path.name for path in Path().iterdir()] == ["market_data.toml"]


def test_missing_keys_are_named_by_their_variables_and_no_key_is_written_or_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POLYGON_API_KEY", "KEYOFPOLYGON1")
    monkeypatch.setenv("MARKET_DATA_ALERT_WEBHOOK", "https://hooks.example/SECRET")

    done = run("--source", "vendors", "--json")

    document = json.loads(done.stdout)
    assert (document["file"], document["source"]) == ("market_data.toml", "vendors")
    [missing] = document["missing"]
    assert missing["name"] == "keys"
    assert "polygon is set; not set: ALPHA_VANTAGE_API_KEY (alpha_vantage)" in missing["told"]
    assert document["next"][:2] == ["market-data doctor", "market-data quota"]
    for text in (done.stdout, done.stderr, FILE.read_text(encoding="utf-8")):
        assert "KEYOFPOLYGON1" not in text
        assert "SECRET" not in text


def test_the_file_that_the_variable_names_is_the_one_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_DATA_SETTINGS", "mine.toml")
    assert json.loads(run("--json").stdout)["file"] == "mine.toml"
    assert Path("mine.toml").is_file()
    assert not FILE.exists()


def test_a_wrong_variable_of_the_environment_is_told_and_the_file_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_DATA_RUNTIM", "x")
    document = json.loads(run("--json").stdout)
    assert "MARKET_DATA_RUNTIM is not a setting; did you mean MARKET_DATA_RUNTIME?" in document["missing"][0]["told"]
    assert FILE.is_file()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"source": "bloomberg"}, "source 'bloomberg' is unknown; known are stooq_bulk, vendors"),
        ({"alert_webhook": "https://x"}, "alert_webhook does not belong into a settings file"),
        ({"nonsense": 1}, "nonsense does not belong into a settings file"),
    ],
)
def test_what_does_not_belong_into_the_file_is_refused(given: dict, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        settings_text(given)


def test_a_folder_that_is_not_there_is_told_with_what_to_do() -> None:
    with pytest.raises(SettingsError, match=r"nowhere/x\.toml: cannot be written: No such file or directory; check"):
        write_settings(Path("nowhere/x.toml"), "")


def test_on_a_terminal_it_asks_for_the_archive_and_the_source() -> None:
    # The same in a terminal of its own: an archive that is none, then the vendors.
    code = "from market_data.cli import main; main(['init'])"
    master, slave = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "TERM": "dumb"}
    process = subprocess.Popen([sys.executable, "-c", code], stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    os.write(master, b"\nvendors\n")
    shown = b""
    with suppress(OSError):  # which is how the end of a terminal is told
        while part := os.read(master, 65536):
            shown += part
    os.close(master)

    assert process.wait(60) == 0, shown.decode()
    assert b"Stooq bulk archive, folder or zip (empty: none):" in shown
    assert b"market_data.toml: written; bars come from vendors" in shown
    assert load_settings().source == "vendors"
