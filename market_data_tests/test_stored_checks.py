from __future__ import annotations

from datetime import date

import duckdb
import pytest

from market_data.errors import Transient
from market_data.ingest.raw_store import RawStore
from market_data.providers.base import sha256_hex
from market_data.records import Basis, FetchRequest, RawPayload, StoredPayload
from market_data.report.checks import CHECKS, CheckResult
from market_data.settings import Settings, load_settings
from market_data.warehouse.actions import record_actions
from market_data.warehouse.batch import write_batch
from market_data.warehouse.store import record_coverage, record_failure
from market_data_tests.bars import DAYS, actions, at, batch, new_database, payload, prices, rows, verdicts

FIRST, SECOND, LAST = (date.fromisoformat(DAYS[n]) for n in (0, 1, 4))
ALL = ("schema", "completeness", "nulls", "positivity", "ohlc", "continuity", "freshness", "basis", "provenance")


def without_constraints(connection: duckdb.DuckDBPyConnection) -> None:
    """Let the tables take what their constraints hold back."""
    for table in ("price_history_daily", "data_quality_log"):
        connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM {table}")


def checked(
    connection: duckdb.DuckDBPyConnection, name: str, start: date = FIRST, end: date = LAST, **limits
) -> CheckResult:
    [check] = [check for check in CHECKS if check.name == name]
    return check.function(connection, start, end, load_settings(**limits))


def stored(symbol: str, body: bytes = b"bars") -> StoredPayload:
    """A payload whose bytes are in the raw store of the working directory."""
    request = FetchRequest(symbol, FIRST, LAST)
    sent = RawPayload("sandbox", request, body, sha256_hex(body), "https://example.test", 200, None, at())
    return RawStore(Settings().raw_folder(synthetic=True)).put(sent)


def good(connection: duckdb.DuckDBPyConnection, symbols: tuple[str, ...] = ("AAPL", "MSFT")) -> None:
    connection.execute("INSERT INTO store_kind VALUES (true)")
    for symbol in symbols:
        answer = stored(symbol)
        quality = verdicts(*((day, "accepted", 1.0, "") for day in DAYS))
        record_coverage(connection, answer, job_id="job")
        write_batch(connection, batch(prices(), stored=answer, quality=quality))


def change(connection: duckdb.DuckDBPyConnection, assignment: str, day: str = DAYS[1], symbol: str = "AAPL") -> None:
    connection.execute(f"UPDATE price_history_daily SET {assignment} WHERE symbol = ? AND date = ?", [symbol, day])


def failing(result: CheckResult, *columns: str) -> list[tuple]:
    days = {name: column.dt.strftime("%Y-%m-%d") for name, column in result.rows.select_dtypes("datetime").items()}
    return [tuple(row) for row in result.rows.assign(**days)[list(columns)].itertuples(index=False)]


def test_the_checks_come_in_order_and_say_what_they_block():
    assert tuple(check.name for check in CHECKS) == ALL
    assert [check.name for check in CHECKS if check.blocking] == ["schema", "nulls", "positivity", "provenance"]
    assert all(check.description.endswith(".") for check in CHECKS)


@pytest.mark.parametrize(
    ("start", "end", "sessions"), [(FIRST, LAST, 5), (SECOND, SECOND, 1)], ids=["range", "session"]
)
def test_good_rows_pass_every_check(start: date, end: date, sessions: int):
    with new_database().writing() as connection:
        good(connection)
        results = {check.name: check.function(connection, start, end, load_settings()) for check in CHECKS}
    assert {
        name: (result.passed, result.failing, len(result.rows)) for name, result in results.items()
    } == dict.fromkeys(ALL, (True, 0, 0))
    bars, before = 2 * sessions, DAYS[0 if sessions == 1 else 3]
    assert {name: (result.measured, result.summary) for name, result in results.items()} == {
        "schema": (0, f"{bars} bars satisfy DailyPrices"),
        "completeness": (1, f"{bars} of {bars} expected bars (100.00%)"),
        "nulls": (0, f"0 of {bars} bars have a null field (0.000%, limit 5%)"),
        "positivity": (0, "no bars with a price of zero or less, or a negative volume"),
        "ohlc": (0, "no bars whose high or low is not the extreme"),
        "continuity": (0, "no closes that move more than 0.5 in log"),
        "freshness": (
            2,
            f"2 bars on {end}, the last session; 0 instruments stop at {before}",
        ),
        "basis": (0, "every bar is raw"),
        "provenance": (0, "2 payloads hold every bar"),
    }


def test_a_span_without_rows_is_incomplete_and_stale_and_passes_the_others():
    with new_database().writing() as connection:
        passed = [check.name for check in CHECKS if check.function(connection, FIRST, LAST, load_settings()).passed]
        assert passed == [name for name in ALL if name not in ("completeness", "freshness")]
        assert checked(connection, "completeness").summary == "0 of 0 expected bars (0.00%)"


def test_bars_that_break_the_model_are_counted_and_named():
    with new_database().writing() as connection:
        good(connection)
        without_constraints(connection)
        change(connection, "open = -1")
        change(connection, "volume = -5", DAYS[2])
        result = checked(connection, "schema")
        assert (result.passed, result.failing, result.measured) == (False, 2, 2)
        assert failing(result, "column", "failure_case", "symbol", "date") == [
            ("open", "-1.0", "AAPL", DAYS[1]),
            ("volume", "-5.0", "AAPL", DAYS[2]),
        ]
        assert checked(connection, "schema", SECOND, SECOND).failing == 1
        assert checked(connection, "schema", FIRST, FIRST).passed


def test_the_number_to_watch_counts_every_failing_row_and_not_only_those_shown():
    with new_database().writing() as connection:
        good(connection, ("S",))
        without_constraints(connection)
        connection.execute(
            "INSERT INTO price_history_daily SELECT bars.* REPLACE (symbol || n AS symbol) "
            "FROM price_history_daily AS bars, range(1, 25) AS copies(n)"
        )
        connection.execute("UPDATE price_history_daily SET open = -1, low = -1 WHERE date = ?", [DAYS[0]])
        connection.execute("UPDATE price_history_daily SET low = 20 WHERE date = ?", [DAYS[1]])
        for name, day in (("positivity", FIRST), ("ohlc", SECOND)):
            result = checked(connection, name, day, day)
            assert (result.failing, len(result.rows), result.measured) == (25, 20, 25)
        result = checked(connection, "schema", FIRST, FIRST)
        assert (result.failing, len(result.rows), result.measured) == (50, 20, 50)


def test_sessions_without_a_bar_are_incomplete():
    with new_database().writing() as connection:
        good(connection, ("AAPL",))
        quality = verdicts(
            (DAYS[0], "flagged", 0.5, "large_move"), (DAYS[1], "missing", 0.0, "missing_session"),
            (DAYS[2], "rejected", 0.0, "null_share"),
        )  # fmt: skip
        write_batch(connection, batch(prices(DAYS[:1]), stored=payload("MSFT"), quality=quality))
        result = checked(connection, "completeness")
        assert (result.passed, result.failing, result.measured) == (False, 2, 0.75)
        assert result.summary == "6 of 8 expected bars (75.00%)"
        assert failing(result, "symbol", "date", "verdict", "rules") == [
            ("MSFT", DAYS[1], "missing", "missing_session"),
            ("MSFT", DAYS[2], "rejected", "null_share"),
        ]
        assert checked(connection, "completeness", FIRST, FIRST).passed
        assert checked(connection, "completeness", SECOND, SECOND).measured == 0.5


def test_an_accepted_session_whose_bar_is_gone_is_incomplete():
    with new_database().writing() as connection:
        good(connection)
        connection.execute("DELETE FROM price_history_daily WHERE symbol = 'AAPL' AND date = ?", [DAYS[1]])
        result = checked(connection, "completeness")
        assert (result.passed, result.failing, result.measured) == (False, 1, 0.9)


def test_nulls_fail_above_their_threshold_and_not_at_it():
    with new_database().writing() as connection:
        good(connection)
        change(connection, "volume = NULL")
        result = checked(connection, "nulls")
        assert (result.passed, result.failing, result.measured) == (False, 1, 0.1)
        assert result.summary == "1 of 10 bars have a null field (10.000%, limit 5%)"
        assert failing(result, "symbol", "date") == [("AAPL", DAYS[1])]
        assert checked(connection, "nulls", null_threshold=0.1).passed
        assert checked(connection, "nulls", SECOND, SECOND).measured == 0.5
        change(connection, "vwap = NULL, trade_count = NULL", DAYS[2])
        assert checked(connection, "nulls").failing == 1


def test_a_threshold_below_one_percent_is_not_shown_as_zero():
    with new_database().writing() as connection:
        good(connection)
        assert "limit 0.5%" in checked(connection, "nulls", null_threshold=0.005).summary


def test_a_price_of_zero_or_less_or_a_negative_volume_is_found():
    wrong = ("open = 0", "high = -1", "low = 0", "close = -0.01", "volume = -1")
    with new_database().writing() as connection:
        good(connection)
        without_constraints(connection)
        for day, assignment in zip(DAYS, wrong, strict=True):
            change(connection, assignment, day)
        change(connection, "open = NULL, volume = 0", DAYS[2], "MSFT")
        result = checked(connection, "positivity")
        assert (result.passed, result.failing, result.measured) == (False, 5, 5)
        assert result.summary == "5 bars with a price of zero or less, or a negative volume"
        assert failing(result, "symbol", "date") == [("AAPL", day) for day in DAYS]
        assert checked(connection, "positivity", SECOND, SECOND).failing == 1


def test_a_high_or_low_that_is_not_the_extreme_is_found_but_not_rounding():
    with new_database().writing() as connection:
        good(connection)
        for day, assignment in enumerate(
            ("high = 10.4", "low = 10.2", "high = 10.49995", "low = NULL", "low = 10.00005")
        ):
            change(connection, assignment, DAYS[day])
        change(connection, "high = 10.4995", DAYS[4], "MSFT")
        result = checked(connection, "ohlc")
        assert (result.passed, result.failing) == (False, 3)
        assert failing(result, "symbol", "date", "high", "low") == [
            ("AAPL", DAYS[0], 10.4, 9.0),
            ("AAPL", DAYS[1], 11.0, 10.2),
            ("MSFT", DAYS[4], 10.4995, 9.0),
        ]
        assert result.summary == "3 bars whose high or low is not the extreme"
        assert [checked(connection, "ohlc", day, day).failing for day in (FIRST, SECOND, LAST)] == [1, 1, 1]


def test_a_close_that_jumps_is_found_in_a_range_and_in_its_session_alone():
    with new_database().writing() as connection:
        good(connection)
        change(connection, "close = 21", DAYS[2])
        result = checked(connection, "continuity")
        assert (result.passed, result.failing) == (False, 2)
        assert failing(result, "symbol", "previous_date", "date", "previous_close", "close") == [
            ("AAPL", DAYS[1], DAYS[2], 10.5, 21.0),
            ("AAPL", DAYS[2], DAYS[3], 21.0, 10.5),
        ]
        assert result.rows["log_return"].round(6).tolist() == [0.693147, -0.693147]
        assert result.summary == "2 closes that move more than 0.5 in log"
        assert [checked(connection, "continuity", day, day).failing for day in (SECOND, date(2021, 1, 21))] == [0, 1]
        assert checked(connection, "continuity", log_return_limit=0.7).passed
        change(connection, "close = NULL", DAYS[2])
        assert checked(connection, "continuity").passed


def test_a_split_explains_the_jump_of_prices_as_traded_and_not_of_adjusted_ones():
    halved = prices(close=[10.5, 10.5, 5.25, 5.25, 5.25])
    with new_database().writing() as connection:
        for symbol, basis in (("RAW", Basis.RAW), ("ADJ", Basis.SPLIT), ("NONE", Basis.RAW)):
            write_batch(connection, batch(halved, stored=payload(symbol), basis=basis))
            split = actions((DAYS[2], "split", 2.0), (DAYS[2], "dividend", 8.0))
            if symbol != "NONE":
                record_actions(connection, symbol, payload(symbol, feed="splits"), split, [], adjusted_as_of=None)
        assert failing(checked(connection, "continuity"), "symbol", "date") == [("ADJ", DAYS[2]), ("NONE", DAYS[2])]


def test_a_jump_after_a_month_without_bars_is_found_in_its_session_as_in_the_range():
    later = date(2021, 2, 25)
    with new_database().writing() as connection:
        good(connection, ("AAPL",))
        write_batch(connection, batch(prices([str(later)], close=105.0), stored=payload()))
        in_range, alone = (checked(connection, "continuity", start, later) for start in (FIRST, later))
        assert (in_range.failing, alone.failing) == (1, 1)


def test_an_instrument_that_stops_one_session_early_is_stale():
    with new_database().writing() as connection:
        good(connection, ("AAPL", "MSFT", "GONE"))
        connection.execute("DELETE FROM price_history_daily WHERE symbol = 'MSFT' AND date = ?", [DAYS[4]])
        connection.execute("DELETE FROM price_history_daily WHERE symbol = 'GONE' AND date >= ?", [DAYS[3]])
        result = checked(connection, "freshness")
        assert (result.passed, result.failing, result.measured) == (False, 1, 1)
        assert failing(result, "symbol", "last_bar") == [("MSFT", DAYS[3])]
        assert result.summary == "1 bars on 2021-01-25, the last session; 1 instruments stop at 2021-01-22"
        assert checked(connection, "freshness", end=date(2021, 1, 26)).summary.startswith("0 bars on 2021-01-26")
        weekend = checked(connection, "freshness", end=date(2021, 1, 24))
        assert weekend.summary.startswith("2 bars on 2021-01-22, the last session; 1 instruments stop at 2021-01-21")


def test_bars_that_are_not_raw_are_counted_and_named_by_symbol_and_span():
    with new_database().writing() as connection:
        good(connection)
        change(connection, "basis = 'split', adjusted_as_of = '2026-01-20'", DAYS[1])
        change(connection, "basis = 'split', adjusted_as_of = '2026-01-20'", DAYS[2])
        change(connection, "basis = 'split_dividend', adjusted_as_of = '2026-01-20'", DAYS[4], "MSFT")
        result = checked(connection, "basis")
        assert (result.passed, result.failing, result.measured) == (False, 3, 3)
        assert failing(result, "symbol", "basis", "bars", "first_date", "last_date") == [
            ("AAPL", "split", 2, DAYS[1], DAYS[2]),
            ("MSFT", "split_dividend", 1, DAYS[4], DAYS[4]),
        ]
        assert result.summary.startswith("3 bars of 2 symbols are adjusted as sent, since not every corporate action")
        assert [checked(connection, "basis", day, day).failing for day in (FIRST, SECOND, LAST)] == [0, 1, 1]


def test_a_bar_whose_payload_is_in_no_ledger_or_no_raw_store_is_found():
    with new_database().writing() as connection:
        good(connection)
        change(connection, "raw_hash = 'unknown'", DAYS[0])
        kept = stored("OTHER", b"kept, but not noted")
        write_batch(connection, batch(prices(DAYS[:2]), stored=kept))
        record_failure(
            connection, request_id="f", request=kept.request, provider="sandbox", error=Transient("HTTP 503"),
            stored=kept, job_id="job", now=at(),
        )  # fmt: skip
        noted = payload("NOTED")
        record_coverage(connection, noted, job_id="job")
        write_batch(connection, batch(prices(DAYS[1:4]), stored=noted))
        result = checked(connection, "provenance")
        assert (result.passed, result.failing, result.measured) == (False, 6, 6)
        assert result.summary == "6 bars without a raw payload"
        assert failing(result, "symbol", "raw_hash", "bars", "first_date", "last_date", "in_ledger", "in_store") == [
            ("AAPL", "unknown", 1, DAYS[0], DAYS[0], False, False),
            ("NOTED", noted.sha256, 3, DAYS[1], DAYS[3], True, False),
            ("OTHER", kept.sha256, 2, DAYS[0], DAYS[1], False, True),
        ]
        assert checked(connection, "provenance", LAST, LAST).passed


def test_an_answer_for_all_symbols_is_the_payload_of_each_bar_that_came_from_it():
    with new_database().writing() as connection:
        good(connection)
        connection.execute("UPDATE coverage SET symbol = '*' WHERE symbol = 'AAPL'")

        assert checked(connection, "provenance").passed


def test_real_bars_are_looked_for_among_the_real_payloads():
    with new_database().writing() as connection:
        good(connection)
        connection.execute("UPDATE store_kind SET synthetic = false")
        assert checked(connection, "provenance").failing == 10
        assert rows(connection, "SELECT count(*) FROM price_history_daily") == [(10,)]
