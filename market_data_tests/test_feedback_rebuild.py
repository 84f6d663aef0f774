"""Executions in a rebuild: the stored files alone make their tables anew, and what they cost is carried over."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from market_data.ingest.rebuild import rebuild_database
from market_data.ingest.verify import verify
from market_data.report.slippage import update_slippage
from market_data.warehouse.comparison import compare_databases
from market_data.warehouse.connection import Database
from market_data.warehouse.swap import carry_over
from market_data_tests.executions import UNIVERSE, Desk, as_csv, as_jsonl, execution

TABLES = ("execution_feedback", "execution_revisions", "execution_files", "execution_rejects", "execution_slippage")


def test_a_rebuild_comes_to_the_same_executions_and_keeps_what_they_cost() -> None:
    desk = Desk()
    for body in (as_jsonl(execution(), execution("o2", side="x")), as_csv(execution(price=10.6)), b"nothing\n"):
        desk.take("a.jsonl", body)
        desk.now += timedelta(hours=1)
    update_slippage(desk.settings, synthetic=False, clock=lambda: desk.now)
    rebuilt = Path("rebuilt.duckdb")

    done = rebuild_database(desk.settings, UNIVERSE, rebuilt, synthetic=False)
    differences = compare_databases(desk.database, rebuilt)
    carry_over(desk.database.path, rebuilt)

    assert (done.payloads, done.left_out) == (3, {})
    assert all(difference.is_none for difference in differences)
    with Database(rebuilt).reading() as connection:
        for table in TABLES:
            rows = connection.execute(f"FROM {table} ORDER BY ALL").fetchall()
            assert rows == desk.rows(f"FROM {table} ORDER BY ALL")
            assert rows
    assert verify(desk.settings, synthetic=False).findings == ()
