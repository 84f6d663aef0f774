"""`market_data.toml`: every setting with its meaning and default, written for a person to change.

Names, meanings and defaults come from `Settings` itself, so that the file tells of what there is.
"""

from __future__ import annotations

import inspect
import os
import re
import textwrap
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, get_args

from market_data.errors import SettingsError
from market_data.settings import DEFAULT_FILE, FILE_VARIABLE, PREFIX, Settings, SourceName

__all__ = ["file_to_write", "meanings", "settings_text", "write_settings"]

_HEAD = f"""\
# Settings of market_data, read from the working directory or from the file that {FILE_VARIABLE} names.
#
# A line with `# name = value` tells a default; take the mark away to set it. Each can also be set as a variable of the
# environment, {PREFIX}NAME, which wins over this file. `market-data doctor` says whether all is well.
#
# Keys of vendors and other secrets do not belong here: they are read from the environment alone.
"""

_SECTIONS = {
    "Where things are": (
        "runtime", "database", "archive", "universe", "providers", "sandbox_providers", "feedback", "backups"
    ),
    "What is loaded, and from where": ("source", "window_start", "window_end", "keep_current"),
    "What is accepted": (
        "min_data_quality", "null_threshold", "log_return_limit", "stale_sessions", "volume_outlier_limit"
    ),
    "How vendors are asked": ("concurrency", "retry_wait", "selection_seed", "lock_patience"),
    "Keeping current": ("sync_days", "settle_sessions", "gap_calls", "gap_tries"),
    "Minutes": ("intraday_symbols", "intraday_poll", "intraday_grace", "intraday_settle"),
    "Comparing vendors": ("reconcile_share", "reconcile_vendors", "reconcile_ticks", "reconcile_volume_share"),
    "Alerts": ("alert_webhook", "alerts_an_hour", "ui_url"),
    "What is kept how long": ("keep_events", "keep_logs", "keep_polls", "keep_backups"),
    "The synthetic market": ("sandbox_url", "sandbox_seed"),
}  # fmt: skip
_SECRETS = frozenset({"alert_webhook"})


def meanings() -> dict[str, str]:
    """What each setting means, by its name, as the docstring of `Settings` tells."""
    listed = inspect.cleandoc(Settings.__doc__ or "").partition("Attributes:\n")[2]
    told: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", textwrap.dedent(listed)):
        names, _, meaning = entry.partition(": ")
        told |= {name.strip(): " ".join(meaning.split()) for name in names.split(",")}
    return told


def settings_text(given: Mapping[str, Any]) -> str:
    """The file's text.

    Args:
        given: values to set, by the name of the setting; all others are told as comments, with their defaults.

    Raises:
        SettingsError: a name that is not a setting, or a value that is not allowed.
    """
    _require_allowed(given)
    told, parts = meanings(), [_HEAD]
    named = [name for names in _SECTIONS.values() for name in names]
    rest = {"Other": tuple(name for name in Settings.model_fields if name not in named)}
    for title, names in (_SECTIONS | rest).items():
        known = [name for name in names if name in Settings.model_fields]
        if known:
            parts.append(f"\n# --- {title} ---\n")
            parts += [_entry(name, told.get(name, ""), given) for name in known]
    return "\n".join(parts)


def file_to_write(environ: Mapping[str, str] = os.environ) -> Path:
    """The settings file that would be read: that of MARKET_DATA_SETTINGS, else `market_data.toml` here."""
    named = environ.get(FILE_VARIABLE, "").strip()
    return Path(named) if named else DEFAULT_FILE


def write_settings(file: Path, text: str, *, replace: bool = False) -> None:
    """Write the file.

    Args:
        replace: whether one that exists is overwritten.

    Raises:
        SettingsError: it exists, or cannot be written.
    """
    try:
        if not replace:
            with file.open("x", encoding="utf-8") as stream:
                stream.write(text)
            return
        part = file.with_name(f"{file.name}.{os.getpid()}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except FileExistsError:
        raise SettingsError(f"{file}: exists already and was left as it is; give --force to overwrite it") from None
    except (OSError, UnicodeEncodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a path is not valid text"
        raise SettingsError(f"{file}: cannot be written: {reason}; check the folder and its permissions") from None


def _require_allowed(given: Mapping[str, Any]) -> None:
    unknown = [name for name in given if name not in Settings.model_fields or name in _SECRETS]
    if unknown:
        raise SettingsError(f"{unknown[0]} does not belong into a settings file")
    source = given.get("source")
    if source is not None and source not in get_args(SourceName):
        raise SettingsError(f"source {source!r} is unknown; known are {', '.join(get_args(SourceName))}")


def _entry(name: str, meaning: str, given: Mapping[str, Any]) -> str:
    comment = "\n".join(textwrap.wrap(meaning, 110, initial_indent="# ", subsequent_indent="# "))
    if name in _SECRETS:
        return f"{comment}\n# Set the variable {PREFIX}{name.upper()}, not this file.\n"
    if name in given:
        return f"{comment}\n{name} = {_toml(given[name])}\n"
    default = Settings.model_fields[name].default
    return f"{comment}\n# {name} = {_toml(default)}\n"


def _toml(value: Any) -> str:
    """A value as TOML writes it; none is the empty text, which settings take for none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, date):
        return value.isoformat()
    return _quoted("" if value is None else str(value))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", escaped) + '"'
