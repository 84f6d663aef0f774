"""One source: whatever is made from the canonical database reads that and nothing else, and tells when it is stale."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import market_data
from market_data.cli.verify import verify
from market_data.features.lineage import read_standing
from market_data.report.downstream import DOWNSTREAM, check_downstream, checked
from market_data.report.slippage import update_slippage
from market_data.warehouse.features import READ_TABLES
from market_data_tests.bars import at
from market_data_tests.featured import FILE, SYMBOLS, FeatureStore

PACKAGE = Path(market_data.__file__).parent
APP = typer.Typer()
APP.command()(verify)

FORBIDDEN = ("market_data.providers", "market_data.selection", "market_data.ingest", "market_data.sandbox")
WIRE = {"httpx", "socket", "sqlite3", "urllib", "requests", "subprocess", "zstandard", "http"}

RECORDER = """
import json, os, sys
from datetime import date
from pathlib import Path

events, phase = {}, "import"

def note(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        events.setdefault(phase, []).append(["open", os.path.abspath(os.fsdecode(arguments[0]))])
    elif event.split(".")[0] in ("socket", "subprocess", "sqlite3", "ftplib", "http", "urllib") or event in (
        "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.listdir", "os.scandir", "glob.glob"
    ):
        events.setdefault(phase, []).append([event, str(arguments[:1])])

sys.addaudithook(note)
from market_data.clock import utc_now
from market_data.features.update import update
from market_data.report.slippage import update_slippage
from market_data.report.validation.collect import collect
from market_data.settings import Settings

settings = Settings(runtime=Path("runtime"))
phase = "features_daily"
made = len(update(settings, synthetic=True).made)
phase = "execution_slippage"
orders = update_slippage(settings, synthetic=True, clock=utc_now).orders
phase = "validation report"
report = collect(settings, synthetic=True, start=date(2021, 1, 19), end=date(2022, 1, 31), clock=utc_now)
print(json.dumps([events, made, orders, len(report.symbols)]))
"""


def put_order(store: FeatureStore, order: str = "1") -> None:
    store.execute(
        "INSERT INTO execution_feedback (order_id, symbol, side, quantity, price, executed_at, session_date, "
        "received_at, source_file, line, raw_hash) "
        "VALUES (?, 'MSFT', 'buy', 100, 100, ?, ?, ?, 'fills.csv', 1, 'x')",
        order,
        f"{store.days[280]} 15:00",
        store.days[280],
        f"{store.days[280]} 22:00",
    )


@pytest.mark.long
def test_a_process_that_makes_what_is_downstream_opens_the_database_and_no_other_file_or_socket():
    store = FeatureStore(made=False, kept_open=False)
    put_order(store)
    for folder in ("raw/synthetic/ab", "audit", "dagster", "reports"):
        (store.settings.runtime / folder).mkdir(parents=True)
    decoy = store.settings.runtime / "raw/synthetic/ab/abcd.zst"
    decoy.write_bytes(b"not to be read")
    ended = subprocess.run([sys.executable, "-c", RECORDER], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    events, made, orders, symbols = json.loads(ended.stdout)
    assert (made, orders, symbols) == (len(store.days), 1, len(SYMBOLS))
    runtime = str(store.settings.runtime.absolute())
    for what in DOWNSTREAM:
        told = events.get(what, [])
        within = [where for event, where in told if event == "open" and where.startswith(runtime)]
        assert within == [], what
        assert [event for event, _ in told if event.split(".")[0] in ("socket", "subprocess", "http")] == [], what
    of_features = [event for event, _ in events.get("features_daily", [])]
    assert set(of_features) <= {"open"}
    packages = (sys.prefix, sys.base_prefix, str(PACKAGE.parent), "/proc", "/sys", "/etc", "/usr")
    strange = [place for _, place in events.get("features_daily", []) if not place.startswith(packages)]
    assert strange == []


def modules_of_features() -> list[Path]:
    return [*sorted((PACKAGE / "features").glob("*.py")), PACKAGE / "warehouse/features.py"]


def test_modules_of_features_import_nothing_that_speaks_to_vendors_or_reads_payloads():
    for path in modules_of_features():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert [name for name in names if name.startswith(FORBIDDEN) or name.split(".")[0] in WIRE] == [], path.name


def test_statements_of_features_name_canonical_tables_alone():
    store = FeatureStore()
    tables = {row[0] for row in store.rows("SELECT table_name FROM duckdb_tables() WHERE NOT internal")}
    own = {"features_daily", "feature_partitions", "store_kind", "schema_version"}
    text = (PACKAGE / "warehouse/features.py").read_text(encoding="utf-8")
    words = {word for word in text.replace("`", " ").replace('"', " ").replace(",", " ").split() if word in tables}
    assert words <= {*READ_TABLES, *own}
    assert words >= {"price_history_daily", "data_quality_log", "corporate_actions", "actions_told"}
    for outside in ("read_csv", "read_parquet", "ATTACH", "COPY ", "httpfs"):
        assert outside not in text


VIEWS = {"restatements": "revisions", "mixed_basis": "price_history_daily"}


def test_the_tables_that_a_report_names_are_those_it_is_said_to_read():
    store = FeatureStore()
    stored = "SELECT table_name FROM duckdb_tables() UNION SELECT view_name FROM duckdb_views()"
    known = {row[0] for row in store.rows(stored)}
    texts = [path.read_text(encoding="utf-8") for path in sorted((PACKAGE / "report/validation").glob("*.py"))]
    named = {word for text in texts for word in re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", text) if word in known}
    assert "quality_findings" in named
    assert {VIEWS.get(word, word) for word in named} <= set(DOWNSTREAM["validation report"])


def test_a_store_that_is_up_to_date_has_no_finding():
    store = FeatureStore()
    put_order(store)
    update_slippage(store.settings, synthetic=True, clock=lambda: at(day="2022-06-02"))
    report = check_downstream(store.settings, synthetic=True)
    assert (report.is_sound, report.findings) == (True, ())
    told = {item.name: (item.rows, item.checked) for item in report.tables}
    assert told == {"features_daily": (900, 300), "execution_slippage": (1, 1), "validation report": (0, 0)}
    assert {item.name: item.reads for item in report.tables} == DOWNSTREAM


def test_a_store_without_features_and_orders_has_no_finding_either():
    assert check_downstream(FeatureStore(made=False).settings, synthetic=True).findings == ()


def found(store: FeatureStore) -> list[tuple[str, str, str]]:
    with store.database.reading() as connection:
        return [(one.kind, one.place, one.message) for one in checked(connection).findings]


def test_stale_and_absent_sessions_are_listed_with_the_spans_they_cover():
    store = FeatureStore()
    days = store.days
    store.revise("MSFT", days[290], close=90.0)
    store.execute("DELETE FROM feature_partitions WHERE date = ?", days[5])
    store.execute("DELETE FROM features_daily WHERE date = ?", days[5])
    store.execute("UPDATE features_daily SET symbol = 'ZZZ' WHERE date = ? AND symbol = 'NKE'", days[7])
    store.execute("DELETE FROM features_daily WHERE date = ? AND symbol = 'NKE'", days[9])
    store.execute("DELETE FROM feature_partitions WHERE date = ?", days[11])
    assert found(store) == [
        ("stale", str(days[7]), "1 row of no expected session, as of ZZZ"),
        ("stale", str(days[9]), "holds 2 rows and was made with 3"),
        ("stale", str(days[11]), "3 rows without a record of what they were made from"),
        (
            "stale",
            f"{days[290]}..{days[299]} (10 sessions)",
            "bars, verdicts or actions that it was made from have changed",
        ),
        ("absent", str(days[5]), "not made, though sessions before it are"),
    ]
    store.update()
    assert found(store) == []


@pytest.mark.parametrize(
    ("column", "value", "kind", "message"),
    [
        ("store", "real store of 2020-01-01", "foreign", "made from another database, the real store of 2020-01-01"),
        ("schema_version", 1, "stale", "made by schema version 1"),
        ("formula_version", 0, "stale", "made by version 0 of the formulas"),
        ("inputs_hash", "0", "stale", "bars, verdicts or actions that it was made from have changed"),
    ],
)
def test_a_session_made_from_something_else_is_told_with_what_and_made_anew(column, value, kind, message):
    store = FeatureStore()
    store.execute(f"UPDATE feature_partitions SET {column} = ? WHERE date = ?", value, store.days[100])
    [(said, place, why)] = found(store)
    assert (said, place) == (kind, str(store.days[100]))
    assert message in why
    assert store.update().made == (store.days[100],)
    assert found(store) == []


def test_rows_of_a_session_that_the_store_does_not_know_are_foreign():
    store = FeatureStore()
    store.execute(
        "INSERT INTO features_daily (symbol, date, made_at) VALUES ('ZZZ', '2030-01-02', TIMESTAMP '2030-01-02')"
    )
    assert [one[:2] for one in found(store)] == [("foreign", "2030-01-02")]
    assert store.update().rows.removed == 1
    assert found(store) == []


def test_the_standing_of_a_span_is_that_of_the_whole_within_it():
    store = FeatureStore()
    store.revise("MSFT", store.days[270], close=90.0)
    with store.database.reading() as connection:
        whole = read_standing(connection)
        part = read_standing(connection, store.days[265], store.days[280])
    assert part.stale == {day: why for day, why in whole.stale.items() if day <= store.days[280]}
    assert (list(part.stale), part.absent, part.gone) == (store.days[270:281], (), {})


def test_an_order_whose_benchmark_has_changed_is_stale_and_one_of_no_execution_foreign():
    store = FeatureStore()
    put_order(store)
    put_order(store, "2")
    update_slippage(store.settings, synthetic=True, clock=lambda: at(day="2022-06-02"))
    store.execute("DELETE FROM execution_feedback WHERE order_id = '2'")
    store.revise("MSFT", store.days[280], close=90.0)
    store.update()
    assert found(store) == [
        ("stale", "order 1", f"prices of MSFT on {store.days[280]} have changed since"),
        ("foreign", "order 2", f"no execution of MSFT on {store.days[280]} is known"),
    ]


def test_verify_downstream_prints_what_is_stale_and_ends_with_one():
    store = FeatureStore(kept_open=False)
    whole = CliRunner().invoke(APP, ["--downstream"], env={"COLUMNS": "200"})
    assert (whole.exit_code, "all of it is of the store as it stands" in whole.stdout) == (0, True)
    assert "features_daily: 900 rows; made from price_history_daily" in whole.stdout
    store.judge("MSFT", store.days[299], "rejected")
    before = FILE.read_bytes()
    told = CliRunner().invoke(APP, ["--downstream", "--synthetic"], env={"COLUMNS": "200"})
    assert told.exit_code == 1
    assert f"stale: features_daily {store.days[299]}: bars, verdicts" in told.stdout
    document = json.loads(CliRunner().invoke(APP, ["--downstream", "--json"]).stdout)
    assert (document["sound"], document["synthetic"]) == (False, True)
    [finding] = document["findings"]
    assert (finding["kind"], finding["table"], finding["place"]) == ("stale", "features_daily", str(store.days[299]))
    assert FILE.read_bytes() == before


def test_the_features_import_no_client_of_a_vendor():
    code = (
        "import sys, market_data.features.update; print([name for name in sys.modules if name.startswith("
        "('market_data.providers', 'market_data.ingest', 'httpx'))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
