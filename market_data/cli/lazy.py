"""A group of commands, each imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from market_data.cli.catalogue import COMMANDS, Listed
from market_data.cli.ending import INTERRUPTED, tell_end

__all__ = ["CommandGroup", "dashed"]


class Command(Protocol):
    """What typer makes of a function or a group; its class is not the same in all of its versions."""

    name: str | None
    help: str | None
    hidden: bool
    params: list[Any]


def dashed(word: str) -> str:
    """An option or command as it is declared: `--job_id` is `--job-id`."""
    return word.replace("_", "-")


class CommandGroup(TyperGroup):
    """The commands of the catalogue. The list of them needs no import; Ctrl-C ends any of them with one line."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = {item.name: _outline(item) for item in COMMANDS}
        _hide_type_of_flags(self)

    def load(self, name: str) -> Command:
        """The command itself, imported.

        Raises:
            KeyError: there is none of that name.
        """
        return _loaded({item.name: item for item in COMMANDS}[name])

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the arguments name, imported, and the arguments after it."""
        name, outline, rest = super().resolve_command(ctx, args)
        return name, None if outline is None or name is None else self.load(name), rest

    def invoke(self, ctx: Any) -> Any:
        """Run what was asked for; Ctrl-C ends it with a line on standard error, and exit code 130."""
        as_json = "--json" in ctx.args
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            tell_end(INTERRUPTED, kind="Interrupted", code=130, as_json=as_json)
            raise typer.Exit(130) from None


def _outline(item: Listed) -> TyperCommand:
    """What the list of commands shows of one."""
    return TyperCommand(item.name, help=item.summary, rich_help_panel=item.panel, hidden=item.hidden)


def _loaded(item: Listed) -> Command:
    found = getattr(import_module(f"market_data.cli.{item.module}"), item.attribute or item.name)
    command: Any = get_group(found) if isinstance(found, typer.Typer) else _of_function(item.name, found)
    command.name, command.hidden = item.name, item.hidden
    _hide_type_of_flags(command)
    return command  # type: ignore[no-any-return]


def _hide_type_of_flags(command: Any) -> None:
    """Have the help show a flag without `<bool>`, which newer versions of typer put beside it as if it took a value."""
    given = command.get_params

    def get_params(ctx: Any) -> list[Any]:
        parameters: list[Any] = given(ctx)
        for parameter in parameters:
            if getattr(parameter, "is_flag", False):
                parameter.display_type_rich = lambda ctx: None
        return parameters

    command.get_params = get_params
    for below in getattr(command, "commands", {}).values():
        _hide_type_of_flags(below)


def _of_function(name: str, function: Callable[..., None]) -> Any:
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(name)(function)
    return get_command(alone)
