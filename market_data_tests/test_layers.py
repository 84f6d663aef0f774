from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "market_data"
FOUNDATION = {"errors", "records", "settings", "clock", "sessions", "instruments", "schemas"}
LAYERS = [
    FOUNDATION,
    {"providers"},
    {"selection"},
    {"validation"},
    {"adjustments", "corporate_actions"},
    {"warehouse"},
    {"ingest"},
    {"features"},
    {"report", "reading", "reading_features"},
    {"keeping", "export", "settings_file"},
    {"cli", "defs", "definitions"},
]
LEVELS = {part: level for level, parts in enumerate(LAYERS) for part in parts}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
NOT_AT_IMPORT = {
    "connect", "create_connection", "fromtimestamp", "get_calendar", "get_context", "load_settings", "load_universe",
    "monotonic", "now", "open", "read_bytes", "read_text", "sleep", "today", "urlopen", "utc_now", "utcnow",
    "write_text",
}  # fmt: skip


def part_of(path: Path) -> str:
    """`providers` for providers/http.py, `settings` for settings.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports_of(path: Path) -> set[str]:
    """Every module named in an import, wherever it stands; `from market_data import x` counts as market_data.x."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: relative import"
            names = {f"market_data.{alias.name}" for alias in node.names}
            found |= names if node.module == "market_data" else {node.module or ""}
    return found


def own_parts_of(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports_of(path) if name.startswith("market_data.")} - {part_of(path)}


def breaches(allowed) -> list[str]:
    return [
        f"{path.relative_to(PACKAGE)} imports {part}"
        for path in FILES
        for part in sorted(own_parts_of(path))
        if not allowed(part_of(path), part)
    ]


def called_at_import(tree: ast.Module) -> set[str]:
    """Names called by statements that run when the module is imported, decorators and defaults included."""
    found, waiting = set(), list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
            continue
        if isinstance(node, ast.Lambda) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Call):
            found.add(node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func))
        waiting += ast.iter_child_nodes(node)
    return found


def test_the_walk_over_the_package_finds_it():
    names = {path.relative_to(PACKAGE).as_posix() for path in FILES}
    assert {"settings.py", "providers/http.py", "warehouse/store.py", "ingest/raw_store.py", "cli/__init__.py"} <= names
    assert "market_data.errors" in imports_of(PACKAGE / "providers" / "http.py")


def test_every_module_belongs_to_a_layer():
    assert {part_of(path) for path in FILES} - set(LEVELS) == {"sandbox"}


def test_no_layer_imports_a_higher_one():
    assert breaches(lambda own, other: other == "sandbox" or own == "sandbox" or LEVELS[other] <= LEVELS[own]) == []


def test_providers_never_import_the_warehouse():
    assert [path.name for path in FILES if part_of(path) == "providers" and "warehouse" in own_parts_of(path)] == []


def test_the_sandbox_imports_only_the_foundation():
    assert breaches(lambda own, other: own != "sandbox" or other in FOUNDATION) == []


def test_the_sandbox_is_imported_only_by_what_runs_a_whole_ingest():
    assert breaches(lambda own, other: other != "sandbox" or LEVELS[own] >= LEVELS["ingest"]) == []


def test_only_the_orchestration_imports_dagster():
    users = {
        part_of(path) for path in FILES if any(name.split(".")[0].startswith("dagster") for name in imports_of(path))
    }
    assert users <= {"defs", "definitions"}


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(PACKAGE).as_posix() for path in FILES])
def test_a_module_opens_and_asks_nothing_when_it_is_imported(path):
    assert called_at_import(tree_of(path)) & NOT_AT_IMPORT == set()


def test_the_search_for_calls_at_import_sees_what_runs_and_not_what_waits():
    source = """
START = datetime.now()
class A:
    opened = open("x")
    def later(self, when=date.today()): sleep(1)
@cache
def later(): connect()
later_too = lambda: utc_now()
"""
    assert called_at_import(ast.parse(source)) == {"now", "open", "today"}


IMPORTER = """
import importlib, json, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind", "sqlite3.connect", "subprocess.Popen"):
        raise RuntimeError(f"{event} at import: {arguments}")

sys.addaudithook(refuse)
import market_data.cli
of_the_command_line = sorted({name.split(".")[0] for name in sys.modules} & {"dagster", "matplotlib", "uvicorn"})
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps([of_the_command_line, "dagster" in sys.modules]))
"""


def test_importing_all_but_the_orchestration_touches_no_network_writes_nothing_and_spares_dagster(tmp_path):
    modules = [
        ".".join(("market_data", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in FILES
        if part_of(path) not in ("defs", "definitions") and path.name != "__main__.py"
    ]
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTER, *modules], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == [[], False]
    assert list(tmp_path.iterdir()) == []
