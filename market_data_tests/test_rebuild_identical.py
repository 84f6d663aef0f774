"""The database made anew from the raw store: identical whatever was done to it, and put in the live one's place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from market_data.errors import MarketDataError
from market_data.ingest.actions import fetch_actions, import_actions
from market_data.ingest.amend import amend, undo
from market_data.ingest.raw_store import RawStore
from market_data.ingest.rebuild import Rebuilt, rebuild_database
from market_data.providers.base import sha256_hex
from market_data.records import FetchRequest, RawPayload
from market_data.warehouse.amendments import Amendment, Change
from market_data.warehouse.comparison import COMPARED, Difference, compare_databases
from market_data.warehouse.connection import Database
from market_data.warehouse.provider_metrics import refresh_provider_metrics
from market_data.warehouse.swap import carry_over, restore_audit, swap
from market_data_tests.reconciling import filled, reconciled
from market_data_tests.vendors import VENDORS, Vendors, symbols

pytestmark = pytest.mark.long

NAMES = symbols(40)
AUDIT = "SELECT * EXCLUDE (decision) FROM ingestion_audit ORDER BY job_id, symbol"


class Ticking(Vendors):
    """Vendors whose clock goes on, so that answers come one after the other."""

    @property
    def now(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now

    @now.setter
    def now(self, moment: datetime) -> None:
        self._now = moment


def later(vendors: Vendors, hours: int = 1) -> None:
    vendors.now += timedelta(hours=hours)


def fetch_all_actions(vendors: Vendors) -> None:
    with vendors.source() as source:
        fetch_actions(
            vendors.settings, vendors.universe, source, symbols=vendors.names, job_id="act", clock=lambda: vendors.now
        )
    later(vendors)


def live(vendors: Vendors) -> Path:
    return vendors.settings.database_for(synthetic=True)


def rebuilt(vendors: Vendors, path: Path) -> Rebuilt:
    return rebuild_database(vendors.settings, vendors.universe, path, synthetic=True, clock=lambda: vendors.now)


def differences(vendors: Vendors, path: Path) -> dict[str, Difference]:
    return {item.table: item for item in compare_databases(Database(live(vendors)), path) if not item.is_none}


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendors]:
    """Actions, a backfill over four vendors with refused batches, an import, an amendment, its undo, comparisons."""
    folder = tmp_path_factory.mktemp("whole")
    with Ticking(folder / "runtime", NAMES) as vendors:
        fetch_all_actions(vendors)
        vendors.run()
        later(vendors)
        [(symbol, day, close)] = vendors.rows(
            "SELECT symbol, date, close FROM price_history_daily WHERE close < high ORDER BY ALL LIMIT 1 OFFSET 5"
        )
        file = folder / "actions.csv"
        file.write_text("symbol,date,kind,value\nQAB,2024-02-15,spinoff,1.046\nQAC,2024-02-16,dividend,0.25\n")
        import_actions(
            vendors.settings, vendors.universe, file, synthetic=True, job_id="imp", clock=lambda: vendors.now
        )
        later(vendors)
        for value, ends in ((close + 0.01, True), (close + 0.02, False)):
            done = amend(
                vendors.settings, vendors.universe, symbol=symbol, day=day, values={"close": value}, reason="a try",
                synthetic=True, author="tester", clock=lambda: vendors.now,
            )  # fmt: skip
            later(vendors)
            if ends:
                undo(vendors.settings, amendment_id=done.amendment_id or "", reason="wrong", synthetic=True,
                     author="tester", clock=lambda: vendors.now)  # fmt: skip
                later(vendors)
        reconciled(vendors, symbols=vendors.names[:3])
        later(vendors)
        yield vendors


@pytest.fixture(scope="module")
def anew(vendors: Vendors, tmp_path_factory: pytest.TempPathFactory) -> tuple[Rebuilt, Path]:
    path = tmp_path_factory.mktemp("anew") / "anew.duckdb"
    return rebuilt(vendors, path), path


def test_a_store_in_which_everything_happened_is_rebuilt_identically(vendors, anew):
    result, path = anew
    counts = {table: vendors.rows(f"SELECT count(*) FROM {table}")[0][0] for table in COMPARED}
    empty = {"corporate_action_revisions", "action_conflicts", "price_history_intraday"}
    empty |= {"execution_feedback", "execution_revisions", "execution_rejects"}
    assert {table for table, count in counts.items() if not count} <= empty, counts
    assert {row[0] for row in vendors.rows("SELECT DISTINCT source_provider FROM price_history_daily")} <= {*VENDORS}
    assert {row[0] for row in vendors.rows("SELECT DISTINCT reason FROM revisions")} >= {"amendment", "undo"}
    assert vendors.rows("SELECT count(*) FROM data_quality_log WHERE verdict = 'rejected'") != [(0,)]
    assert differences(vendors, path) == {}
    assert (result.payloads, result.left_out) == (len(list((live(vendors).parent / "raw").rglob("*.json"))), {})


def test_what_differs_is_listed_with_the_rows_of_both(vendors, anew, tmp_path):
    altered = tmp_path / "altered.duckdb"
    altered.write_bytes(anew[1].read_bytes())
    with duckdb.connect(str(altered)) as connection:
        place = "FROM price_history_daily WHERE volume IS NOT NULL ORDER BY symbol, date LIMIT 2"
        (symbol, first), (_, second) = connection.execute(f"SELECT symbol, date {place}").fetchall()
        at = "WHERE symbol = ? AND date = ?"
        connection.execute(f"UPDATE price_history_daily SET close = close + 1 {at}", [symbol, first])
        connection.execute(f"DELETE FROM price_history_daily {at}", [symbol, second])
        connection.execute("UPDATE quality_findings SET found_at = now()::TIMESTAMP, job_id = 'other'")
    found = differences(vendors, altered)
    assert list(found) == ["price_history_daily"]
    prices = found["price_history_daily"]
    assert (prices.only_live, prices.only_other) == (2, 1)
    places = [(row["in"], row["symbol"], row["date"]) for row in prices.examples]
    assert places == [("live", symbol, first), ("live", symbol, second), ("rebuilt", symbol, first)]


def test_a_file_in_the_way_is_not_overwritten(vendors, tmp_path):
    path = tmp_path / "there.duckdb"
    path.write_bytes(b"something")
    with pytest.raises(MarketDataError, match=r"there\.duckdb: exists already"):
        rebuilt(vendors, path)
    assert path.read_bytes() == b"something"


def test_put_in_place_it_has_the_audit_and_the_failures_and_the_old_one_is_kept(vendors, anew, tmp_path):
    home, new = tmp_path / "live.duckdb", tmp_path / "new.duckdb"
    home.write_bytes(live(vendors).read_bytes())
    new.write_bytes(anew[1].read_bytes())
    with duckdb.connect(str(home)) as connection:
        connection.execute(
            "INSERT INTO coverage (request_id, symbol, interval, feed, provider, first_date, last_date, outcome, "
            "fetched_at, bytes, attempts, error) VALUES ('f', 'QAA', '1d', 'bars', 'yahoo', '2024-01-02', "
            "'2024-01-03', 'failed', '2024-04-01', 0, 2, 'Transient')"
        )
        refresh_provider_metrics(connection, vendors.now.date())
        due = {query: connection.execute(query).fetchall() for query in (AUDIT, METRICS, LEDGER)}
    carry_over(home, new)
    kept = swap(home, new, patience=1, now=vendors.now)
    assert kept is not None
    assert kept.name.startswith("live.before-")
    assert not new.exists()
    with duckdb.connect(str(home), read_only=True) as connection:
        for query in (AUDIT, METRICS, LEDGER):
            assert connection.execute(query).fetchall() == due[query]
        assert connection.execute("SELECT count(*) FROM coverage WHERE outcome = 'failed'").fetchall() == [(1,)]
    with duckdb.connect(str(kept), read_only=True) as connection:
        assert connection.execute(AUDIT).fetchall() == due[AUDIT]


METRICS = "SELECT * FROM provider_metrics ORDER BY ALL"
LEDGER = "SELECT request_id, job_id, considered FROM coverage ORDER BY request_id"


def test_without_a_live_database_the_audit_comes_back_from_its_files(vendors, anew, tmp_path):
    new = tmp_path / "new.duckdb"
    new.write_bytes(anew[1].read_bytes())
    lines = sum(len(file.read_text().splitlines()) for file in vendors.settings.audit_folder.glob("*.jsonl"))
    assert restore_audit(vendors.settings.audit_folder, new, synthetic=True) == lines > len(NAMES)
    with duckdb.connect(str(new), read_only=True) as connection:
        assert connection.execute(AUDIT).fetchall() == vendors.rows(AUDIT)
    assert restore_audit(vendors.settings.audit_folder, tmp_path / "new.duckdb", synthetic=False) == 0


def test_actions_that_came_after_adjusted_bars_are_applied_in_that_order(tmp_path):
    with Ticking(tmp_path / "runtime", symbols(4)) as vendors:
        vendors.sandbox.replace_faults([])
        filled(vendors, "stooq")
        later(vendors)
        before = dict(vendors.rows("SELECT basis, count(*) FROM price_history_daily GROUP BY basis"))
        fetch_all_actions(vendors)
        after = dict(vendors.rows("SELECT basis, count(*) FROM price_history_daily GROUP BY basis"))
        assert set(before) == {"split_dividend"}
        assert set(after) == {"raw"}
        assert vendors.rows("SELECT DISTINCT reason FROM revisions") == [("actions",)]
        rebuilt(vendors, tmp_path / "anew.duckdb")
        assert differences(vendors, tmp_path / "anew.duckdb") == {}


def test_a_damaged_payload_is_named_and_its_bars_are_only_live(tmp_path):
    with Ticking(tmp_path / "runtime", symbols(3)) as vendors:
        filled(vendors, "polygon")
        [(symbol, sha256)] = vendors.rows(
            "SELECT symbol, raw_hash FROM price_history_daily GROUP BY ALL ORDER BY ALL LIMIT 1"
        )
        [file] = (tmp_path / "runtime").rglob(f"{sha256}.zst")
        file.write_bytes(b"damaged")
        result = rebuilt(vendors, tmp_path / "anew.duckdb")
        [reason] = result.left_out.values()
        assert sha256 in reason
        found = differences(vendors, tmp_path / "anew.duckdb")["price_history_daily"]
        assert found.only_other == 0
        assert {row["symbol"] for row in found.examples} == {symbol}
        assert json.dumps(result.left_out)


def test_an_amendment_that_does_not_fit_is_named_and_the_rest_is_rebuilt(tmp_path):
    with Ticking(tmp_path / "runtime", symbols(2)) as vendors:
        filled(vendors, "polygon")
        [(symbol, day)] = vendors.rows("SELECT symbol, date FROM price_history_daily ORDER BY ALL LIMIT 1")
        amendment = Amendment(symbol, day, (Change("close", -1.0, 2.0),), "does not fit", "tester", vendors.now)
        request = FetchRequest(symbol, day, day, feed="amendments")
        body = amendment.body
        payload = RawPayload(
            "amendment", request, body, sha256_hex(body), "amendment", 200, "application/json", vendors.now, attempts=0
        )
        RawStore(vendors.settings.raw_folder(synthetic=True)).put(payload)
        result = rebuilt(vendors, tmp_path / "anew.duckdb")
        [reason] = result.left_out.values()
        assert reason.startswith(f"AmendmentError: {symbol} {day}: close is ")
        assert differences(vendors, tmp_path / "anew.duckdb") == {}
