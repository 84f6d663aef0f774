"""`market-data actions`: files of a person, and what the commands tell."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from market_data.cli.actions import actions
from market_data.corporate_actions import Told
from market_data.errors import MarketDataError
from market_data.ingest.actions import ActionsFetched, import_actions, parse_import
from market_data.ingest.raw_store import RawStore
from market_data.instruments import Instrument, Universe
from market_data.settings import Settings

UNIVERSE = Universe([Instrument("IBM"), Instrument("BRK.B")])
HEAD = "symbol,date,kind,value\n"
IBM = HEAD + "IBM,2021-11-04,spinoff,1.046\n"


def take(text: str, day: int = 20) -> ActionsFetched:
    Path("mine.csv").write_text(text, encoding="utf-8")
    clock = datetime(2026, 1, day, tzinfo=UTC)
    return import_actions(Settings(), UNIVERSE, Path("mine.csv"), synthetic=False, job_id="job", clock=lambda: clock)


def held(query: str = "SELECT symbol, date::VARCHAR, kind, value FROM corporate_actions ORDER BY ALL") -> list[tuple]:
    with duckdb.connect("runtime/market_data.duckdb", read_only=True) as connection:
        return connection.execute(query).fetchall()


def refused(text: str | bytes) -> str:
    body = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(MarketDataError) as caught:
        parse_import(body, universe=UNIVERSE, name="mine.csv")
    return str(caught.value)


def test_an_import_is_kept_in_the_raw_store_and_written_with_canonical_symbols():
    got = take(
        HEAD.replace("value", "value,note")
        + 'ibm,2021-11-04,spinoff,1.046,"Kyndryl, 1 for 5"\nbrk-b,2024-05-10,dividend,0.5,\n'
    )
    assert (got.spinoffs, got.dividends, got.symbols, got.calls, got.failed) == (1, 1, ["BRK.B", "IBM"], 0, {})
    assert held() == [("BRK.B", "2024-05-10", "dividend", 0.5), ("IBM", "2021-11-04", "spinoff", 1.046)]
    (stored,) = RawStore(Path("runtime/raw")).stored()
    assert (stored.provider, stored.request.feed, stored.request.symbol, stored.url) == (
        "import",
        "actions",
        "*",
        "mine.csv",
    )
    assert (stored.request.start, stored.request.end) == (date(2021, 11, 4), date(2024, 5, 10))
    assert held("SELECT feed, provider, outcome FROM coverage") == [("actions", "import", "answered")]
    assert held("SELECT count(*) FROM actions_told") == [(0,)]


def test_a_later_import_replaces_and_withdraws_rows():
    take(IBM + "IBM,2024-05-10,dividend,1.67\n", 20)
    assert take(HEAD + "IBM,2021-11-04,spinoff,1.05\nIBM,2024-05-10,dividend,\n", 21).symbols == ["IBM"]
    assert held() == [("IBM", "2021-11-04", "spinoff", 1.05)]
    assert held("SELECT kind, value FROM corporate_action_revisions ORDER BY kind") == [
        ("dividend", 1.67),
        ("spinoff", 1.046),
    ]


def test_a_file_that_claims_to_be_complete_tells_spans_and_withdraws_what_it_lacks():
    take(IBM + "IBM,2024-05-10,dividend,1.67\n", 20)
    take("# complete: split,dividend 2021-01-19..2026-01-16\n" + IBM, 21)
    assert held() == [("IBM", "2021-11-04", "spinoff", 1.046)]
    assert held("SELECT symbol, kind, first_date::VARCHAR FROM actions_told ORDER BY kind") == [
        ("IBM", "dividend", "2021-01-19"),
        ("IBM", "split", "2021-01-19"),
    ]


def test_json_lines_are_read_as_well():
    spinoff = b'{"symbol":"IBM","date":"2021-11-04","kind":"spinoff","value":1.046}'
    lines = b"\xef\xbb\xbf# complete: split 2021-01-19..2021-12-31\n" + spinoff + b"\n\n"
    frame, told = parse_import(lines + b'{"symbol":"IBM","date":"2021-11-05","kind":"split","value":null,"note":"no"}')
    assert frame["date"].astype(str).tolist() == ["2021-11-04", "2021-11-05"]
    assert frame["kind"].tolist() == ["spinoff", "split"]
    assert frame["value"].fillna(-1).tolist() == [1.046, -1]
    assert told == (Told("split", date(2021, 1, 19), date(2021, 12, 31)),)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ZZZZ,2021-11-04,split,2", "line 2: column symbol: ZZZZ is not in the universe"),
        ("IBM,2021-11-06,split,2", "line 2: column date: 2021-11-06, a Saturday, is no XNYS session"),
        ("IBM,2021-12-24,split,2", "a Friday, is no XNYS session"),
        ("IBM,4.11.2021,split,2", "line 2: column date: '4.11.2021' is not a date as in 2021-01-19"),
        ("IBM,1900-01-02,split,2", "column date: start 1900-01-02 is outside the known XNYS calendar"),
        ("IBM,2021-11-04,merger,2", "column kind: 'merger' is not one of split, dividend, spinoff"),
        ("IBM,2021-11-04,split,0", "column value: '0' is no plain number above 0; give new shares"),
        ("IBM,2021-11-04,split,4:1", "column value: '4:1' is no plain number"),
        ("IBM,2021-11-04,dividend,-1", "column value: '-1' is no plain number above 0; give dollars a share"),
        ("IBM,2021-11-04,dividend,=1+1", "column value: '=1+1' is no plain number"),
        ("IBM,2021-11-04,split,nan", "column value: 'nan' is no plain number"),
        ("IBM,2021-11-04,split,1", "column value: a split of 1 changes nothing"),
        ("IBM,2021-11-04,split,2,3", "line 2: has 5 fields beside 4 columns"),
        (
            "IBM,2021-11-04,split,2\nibm,2021-11-04,split,3",
            "line 3: column date: IBM has a split of 2021-11-04 in line 2",
        ),
    ],
)
def test_what_is_wrong_is_named_with_file_line_column_value_and_mend(line, message):
    told = refused(HEAD + line + "\n")
    assert told.startswith("mine.csv: line ")
    assert message in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: columns are none; due are symbol,date,kind,value"),
        (HEAD, "holds no action"),
        ("symbol,date,kind,price\n", "columns are symbol, date, kind, price"),
        ("# complete: mergers 2021-01-19..2026-01-16\n" + IBM, "line 1: '# complete: mergers"),
        ("# complete: split 2026-01-16..2021-01-19\n" + IBM, "is not as in '# complete: split,dividend"),
        (b"\xff\xfe", "is not UTF-8"),
        ('{"symbol": "IBM"\n', "line 1: not JSON"),
        (HEAD + 'IBM,"2021', "unexpected end of data"),
    ],
)
def test_a_file_of_another_layout_is_refused(text, message):
    assert message in refused(text)


def test_every_mistake_is_named_and_nothing_is_written():
    with pytest.raises(MarketDataError) as caught:
        take(IBM + "IBM,2021-11-06,split,2\nIBM,2021-11-05,split,x\n")
    assert [line.split(": column")[0] for line in str(caught.value).splitlines()] == [
        "mine.csv: line 3",
        "mine.csv: line 4",
    ]
    assert not Path("runtime").exists()


def test_the_commands_import_and_show(monkeypatch: pytest.MonkeyPatch):
    Path("universe.csv").write_text("symbol,listed_by\nIBM,2020-01-02\n", encoding="utf-8")
    Path("mine.csv").write_text(IBM, encoding="utf-8")
    monkeypatch.setenv("MARKET_DATA_UNIVERSE", "universe.csv")
    runner = CliRunner()
    done = runner.invoke(actions, ["import", "mine.csv", "--real"])
    assert done.exit_code == 0
    assert "0 splits, 0 dividends and 1 spin-offs are known, with 0 conflicts; 1 symbols have news" in " ".join(
        done.output.split()
    )
    shown = json.loads(runner.invoke(actions, ["show", "ibm", "--real", "--json"]).output)
    assert [(row["date"], row["kind"], row["source_provider"]) for row in shown["actions"]] == [
        ("2021-11-04", "spinoff", "import")
    ]
    text = runner.invoke(actions, ["show", "IBM", "--real"]).output
    assert "1.046" in text
    missing = runner.invoke(actions, ["import", "none.csv", "--real"])
    assert "none.csv: cannot be read: No such file" in str(missing.exception)
