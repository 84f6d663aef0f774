"""Features in the database: what an update computes, what it leaves, and what follows a change of a bar or action."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from market_data.errors import SettingsError, WarehouseError
from market_data.features.catalogue import FEATURES, MAX_LOOKBACK
from market_data.features.compute import compute
from market_data.features.update import FeaturesUpdated, update
from market_data.settings import Settings
from market_data.warehouse.features import FeatureRows
from market_data_tests.bars import at, naive, new_database, rows
from market_data_tests.featured import FILE, NOW, SESSIONS, SYMBOLS, FeatureStore
from market_data_tests.stored_prices import put_action


def everything(store: FeatureStore) -> list[tuple[Any, ...]]:
    return store.rows("SELECT * EXCLUDE (made_at) FROM features_daily ORDER BY symbol, date")


def test_the_table_has_a_column_for_each_feature_and_every_column_is_described():
    with new_database().reading() as connection:
        columns = rows(
            connection,
            "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE table_name IN "
            "('features_daily', 'feature_partitions') ORDER BY table_name, column_index",
        )
    names = [name for table, name, _ in columns if table == "features_daily"]
    assert names == ["symbol", "date", *(one.name for one in FEATURES), "reason", "made_at"]
    assert [name for _, name, comment in columns if not comment] == []
    told = {name: comment for table, name, comment in columns if table == "features_daily"}
    assert all(one.unit in told[one.name] for one in FEATURES)


def test_a_first_update_makes_every_expected_session_and_a_second_one_nothing():
    store = FeatureStore(made=False, kept_open=False)
    updated = store.update()
    assert updated.made == tuple(store.days)
    assert (updated.unchanged, updated.healed, updated.stale) == (0, (), ())
    assert updated.rows == FeatureRows(inserted=SESSIONS * len(SYMBOLS))
    assert store.rows("SELECT count(*), count(DISTINCT date), any_value(made_at) FROM features_daily") == [
        (SESSIONS * len(SYMBOLS), SESSIONS, naive(12, day="2022-06-01"))
    ]
    [(rows_held, nulls)] = store.rows("SELECT sum(rows), sum(nulls) FROM feature_partitions")
    assert (rows_held, nulls) == (SESSIONS * len(SYMBOLS), updated.nulls)
    before = FILE.read_bytes()
    assert store.update() == FeaturesUpdated(unchanged=SESSIONS)
    assert FILE.read_bytes() == before


def test_the_counts_of_nulls_are_those_of_the_table():
    store = FeatureStore()
    counted = " + ".join(f"count(*) FILTER ({one.name} IS NULL)" for one in FEATURES)
    differing = store.rows(
        f"SELECT date FROM feature_partitions AS p JOIN (SELECT date, count(*) AS size, {counted} AS absent "
        "FROM features_daily GROUP BY date) AS f USING (date) WHERE p.nulls <> f.absent OR p.rows <> f.size"
    )
    assert differing == []


def test_sessions_made_one_by_one_are_those_of_a_backfill_to_the_last_bit():
    store = FeatureStore()
    of_backfill = everything(store)
    store = FeatureStore(made=False)
    store.update(end=store.days[-4])
    for day in store.days[-3:]:
        assert store.update(start=day, end=day).made == (day,)
    assert everything(store) == of_backfill


@pytest.mark.parametrize("place", [0, 30, 299])
def test_a_revised_bar_makes_its_session_anew_and_those_that_look_back_to_it_and_no_other(place):
    store = FeatureStore()
    store.revise("MSFT", store.days[place], close=101.0, high=200.0, low=50.0)
    updated = store.update()
    assert updated.made == tuple(store.days[place : place + MAX_LOOKBACK])
    assert updated.unchanged == SESSIONS - len(updated.made)
    assert updated.rows.inserted == updated.rows.removed == 0
    assert 0 < updated.rows.updated <= len(updated.made) * len(SYMBOLS)


def test_what_is_made_anew_after_a_change_is_what_a_first_update_would_make():
    store = FeatureStore()
    store.revise("NKE", store.days[100], close=77.0)
    store.judge("AAPL", store.days[150], "rejected")
    store.execute("UPDATE corporate_actions SET value = 3 WHERE kind = 'split'")
    store.update()
    in_steps = everything(store)
    store = FeatureStore(made=False)
    store.revise("NKE", store.days[100], close=77.0)
    store.judge("AAPL", store.days[150], "rejected")
    store.execute("UPDATE corporate_actions SET value = 3 WHERE kind = 'split'")
    store.update()
    assert everything(store) == in_steps


@pytest.mark.parametrize("kind", ["split", "dividend", "spinoff"])
def test_a_new_action_makes_anew_just_the_sessions_whose_prices_straddle_it(kind):
    store = FeatureStore()
    with store.database.writing() as connection:
        put_action(connection, "NKE", str(store.days[20]), kind, 2.0)
    updated = store.update()
    # Of the session MAX_LOOKBACK - 1 after the ex-date, the first of its lookback is the ex-date itself.
    assert updated.made == tuple(store.days[20 : 20 + MAX_LOOKBACK - 1])
    assert updated.rows.updated > 0


def test_an_action_after_the_last_session_changes_nothing():
    store = FeatureStore()
    with store.database.writing() as connection:
        put_action(connection, "NKE", "2022-12-01", "split", 2.0)
    assert store.update().made == ()


def test_what_features_are_not_made_from_may_change_without_any_being_made_anew():
    store = FeatureStore()
    store.execute("UPDATE price_history_daily SET source_provider = 'polygon', vwap = 1, trade_count = 2")
    store.execute("UPDATE data_quality_log SET score = 0.9, checked_at = TIMESTAMP '2022-05-02'")
    assert store.update() == FeaturesUpdated(unchanged=SESSIONS)


def test_a_rejected_or_flagged_price_makes_the_features_null_with_the_reason():
    store = FeatureStore()
    day, after = store.days[270], store.days[271]
    assert store.feature("MSFT", day, "rsi_14") is not None
    store.judge("MSFT", day, "flagged", "log_return,volume_outlier")
    store.execute("DELETE FROM price_history_daily WHERE symbol = 'NKE' AND date = ?", day)
    store.judge("NKE", day, "rejected", "negative_price")
    updated = store.update(start=day, end=day)
    assert updated.made == (day,)
    assert updated.stale == tuple(store.days[271:])
    values = store.rows(
        "SELECT symbol, COLUMNS(* EXCLUDE (symbol, date, reason, made_at)) FROM features_daily "
        "WHERE date = ? AND symbol <> 'AAPL'",
        day,
    )
    assert all(value is None for row in values for value in row[1:])
    assert store.feature("MSFT", day, "reason") == f"all: {day} flagged: log_return"
    assert store.feature("NKE", day, "reason") == f"all: {day} rejected"
    assert store.feature("AAPL", day, "rsi_14") is not None
    store.update()
    assert store.feature("MSFT", after, "log_return_1") is None
    assert store.feature("MSFT", after, "log_return_5") is not None
    assert str(day) in store.feature("MSFT", after, "reason")


def test_a_volume_in_doubt_leaves_the_features_of_prices_alone():
    store = FeatureStore()
    day = store.days[270]
    before = store.feature("MSFT", day, "rsi_14"), store.feature("MSFT", day, "beta_252")
    store.judge("MSFT", day, "flagged", "volume_outlier")
    store.update()
    assert (store.feature("MSFT", day, "rsi_14"), store.feature("MSFT", day, "beta_252")) == before
    assert store.feature("MSFT", day, "dollar_volume") is None
    assert "volume" in store.feature("MSFT", day, "reason")


def test_rows_of_an_instrument_that_is_not_expected_any_more_are_removed():
    store = FeatureStore()
    day = store.days[-1]
    store.execute("DELETE FROM price_history_daily WHERE symbol = 'NKE' AND date = ?", day)
    store.execute("DELETE FROM data_quality_log WHERE symbol = 'NKE' AND date = ?", day)
    updated = store.update()
    assert (updated.made, updated.rows.removed) == ((day,), 1)
    assert store.rows("SELECT symbol FROM features_daily WHERE date = ? ORDER BY ALL", day) == [("AAPL",), ("MSFT",)]
    assert store.rows("SELECT rows FROM feature_partitions WHERE date = ?", day) == [(2,)]


def test_sessions_of_which_no_bar_is_expected_any_more_are_removed_whole():
    store = FeatureStore()
    store.execute("DELETE FROM price_history_daily WHERE date = ?", store.days[-1])
    store.execute("DELETE FROM data_quality_log WHERE date = ?", store.days[-1])
    updated = store.update()
    assert (updated.made, updated.rows) == ((), FeatureRows(removed=len(SYMBOLS)))
    assert store.rows("SELECT max(date) FROM feature_partitions") == [(store.days[-2],)]
    assert store.rows("SELECT max(date) FROM features_daily") == [(store.days[-2],)]


def test_an_update_of_a_span_heals_what_is_stale_elsewhere_only_if_asked_to():
    store = FeatureStore()
    store.revise("MSFT", store.days[290], close=90.0)
    last = store.days[-1]
    updated = store.update(start=last, end=last)
    assert (updated.made, updated.healed, updated.stale) == ((last,), (), tuple(store.days[290:-1]))
    updated = store.update(start=last, end=last, heal=True)
    assert (updated.made, updated.healed, updated.stale) == ((), tuple(store.days[290:-1]), ())
    assert store.update() == FeaturesUpdated(unchanged=SESSIONS)


def test_healing_makes_no_session_that_was_never_made():
    store = FeatureStore(made=False)
    day = store.days[100]
    assert store.update(start=day, end=day, heal=True).made == (day,)
    assert store.rows("SELECT DISTINCT date FROM features_daily") == [(day,)]


def test_a_database_made_anew_that_kept_the_records_alone_is_healed_whole_by_the_next_run():
    store = FeatureStore()
    store.execute("DELETE FROM features_daily")
    store.execute("UPDATE feature_partitions SET store = 'synthetic store of 2020-01-01T00:00:00'")
    last = store.days[-1]
    updated = store.update(start=last, end=last, heal=True)
    assert (updated.made, updated.healed) == ((last,), tuple(store.days[:-1]))
    assert everything(store) == everything(FeatureStore())


def test_force_computes_what_is_up_to_date_and_writes_no_row_that_is_the_same():
    store = FeatureStore()
    updated = store.update(force=True, clock=lambda: at(day="2022-07-01"))
    assert (len(updated.made), updated.rows) == (SESSIONS, FeatureRows(unchanged=SESSIONS * len(SYMBOLS)))
    assert store.rows("SELECT max(made_at) FROM features_daily") == [(naive(12, day="2022-06-01"),)]


def test_an_update_that_is_cut_off_goes_on_where_it_was():
    store = FeatureStore(made=False)

    def cut_off(done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.update(tell=cut_off)
    [(held,)] = store.rows("SELECT count(*) FROM feature_partitions")
    assert 0 < held < SESSIONS
    updated = store.update()
    assert (updated.unchanged, len(updated.made)) == (held, SESSIONS - held)
    assert everything(store) == everything(FeatureStore())


def test_nothing_is_computed_twice_for_the_sessions_between_two_that_are_far_apart():
    store = FeatureStore()
    asked = []

    def formulas(panel: Any, *, first: int) -> Any:
        asked.append((len(panel.sessions), first))
        return compute(panel, first=first)

    store.execute("DELETE FROM feature_partitions WHERE date IN (?, ?)", store.days[3], store.days[299])
    store.execute("DELETE FROM features_daily WHERE date IN (?, ?)", store.days[3], store.days[299])
    assert store.update(formulas=formulas).made == (store.days[3], store.days[299])
    assert asked == [(4, 3), (MAX_LOOKBACK, MAX_LOOKBACK - 1)]


def test_a_store_without_bars_has_no_features_and_no_store_is_an_error():
    settings = Settings(runtime="runtime")
    with pytest.raises(WarehouseError, match="no database yet"):
        update(settings, synthetic=True)
    FILE.parent.mkdir()
    new_database(FILE)
    assert update(settings, synthetic=True, clock=lambda: NOW) == FeaturesUpdated()
    with pytest.raises(SettingsError, match="is after end"):
        update(settings, synthetic=True, start=date(2022, 1, 2), end=date(2022, 1, 1))


def test_a_write_that_fails_leaves_rows_and_records_as_they_were():
    store = FeatureStore()
    before = everything(store)
    store.revise("MSFT", store.days[290], close=90.0)

    def formulas(panel: Any, *, first: int) -> Any:
        made = compute(panel, first=first)
        return replace(made, values=made.values | {"no_feature": made.values["rsi_14"]})

    with pytest.raises(WarehouseError, match="no column 'no_feature'"):
        store.update(formulas=formulas)
    assert everything(store) == before
    assert len(store.update().made) == 10
