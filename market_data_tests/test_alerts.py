"""The book of alerts: its lines, what is posted to the webhook, and what is held back."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from market_data.errors import MarketDataError
from market_data.keeping.alert_limits import HOUR, REPEATED_AFTER, AlertLimits
from market_data.keeping.alert_record import Alert, Finding, Kind, Severity, checks_link, named_symbols, run_link
from market_data.keeping.alert_text import escaped, message, plain
from market_data.keeping.alerts import AlertBook, trial
from market_data.settings import Settings
from market_data_tests.bars import python
from market_data_tests.webhooks import SECRET, Webhook, running

NOON = datetime(2026, 1, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with running() as hook:
        yield hook


def settings_of(hook: Webhook | None = None, url: str = "", **more: object) -> Settings:
    address = hook.url if hook else url
    return Settings(runtime=Path("runtime"), alert_webhook=SecretStr(address) if address else None, **more)


def finding(asset: str = "daily_prices", check: str | None = "completeness", **more: object) -> Finding:
    given = {"sessions": "2026-01-20", "symbols": ("AAPL", "MSFT"), "reason": "2 bars are missing"}
    return Finding(asset, check=check, **given | more)


def alert(*findings: Finding, after: float = 0, **more: object) -> Alert:
    """An alert so many minutes after noon."""
    given = {"run_id": "abcdef0123", "link": "http://127.0.0.1:3000/runs/abcdef0123"}
    return Alert(Kind.CHECK_FAILURE, NOON + timedelta(minutes=after), findings or (finding(),), **given | more)


def lines() -> list[dict]:
    return [json.loads(line) for line in Path("runtime/alerts.jsonl").read_text().splitlines()]


def texts(hook: Webhook) -> list[str]:
    return [body["text"] for body in hook.bodies]


def test_an_alert_is_a_line_of_json_that_names_asset_session_symbols_reason_and_link() -> None:
    delivery = AlertBook(settings_of()).send(alert())

    assert delivery.webhook == "not set"
    [line] = lines()
    assert line == {
        "at": "2026-01-21T12:00:00+00:00",
        "kind": "check_failure",
        "severity": "error",
        "assets": ["daily_prices"],
        "checks": ["completeness"],
        "sessions": ["2026-01-20"],
        "symbols": ["AAPL", "MSFT"],
        "message": "2 bars are missing",
        "link": "http://127.0.0.1:3000/runs/abcdef0123",
        "run_id": "abcdef0123",
        "synthetic": False,
        "findings": [
            {
                "asset": "daily_prices",
                "check": "completeness",
                "sessions": "2026-01-20",
                "severity": "error",
                "reason": "2 bars are missing",
                "symbols": ["AAPL", "MSFT"],
                "rows": None,
                "link": "",
            }
        ],
        "webhook": "not set",
    }


def test_the_webhook_gets_what_slack_takes(hook: Webhook) -> None:
    book = AlertBook(settings_of(hook))

    sent = book.send(alert(finding(link=checks_link("http://127.0.0.1:3000/", ["daily_prices"], "completeness"))))

    assert sent.is_sent
    assert lines()[0]["webhook"] == "sent"
    [body] = hook.bodies
    assert hook.types == ["application/json"]
    header, section, foot = body["blocks"]
    assert header == {"type": "header", "text": {"type": "plain_text", "text": "check failed: daily_prices"}}
    assert section["text"] == {
        "type": "mrkdwn",
        "text": "*daily_prices* check `completeness` (error)\nsessions: 2026-01-20\nsymbols: AAPL, MSFT\n"
        "2 bars are missing\n"
        "<http://127.0.0.1:3000/assets/daily_prices?view=checks&amp;checkDetail=completeness|checks>",
    }
    assert foot["elements"][0]["text"] == (
        "2026-01-21 12:00 UTC | error | <http://127.0.0.1:3000/runs/abcdef0123|run abcdef01>"
    )
    assert body["text"] == (
        "[error] check failed: daily_prices\ndaily_prices completeness: 2026-01-20: AAPL, MSFT: 2 bars are missing\n"
        "http://127.0.0.1:3000/runs/abcdef0123"
    )


def test_made_up_data_is_said_to_be_made_up() -> None:
    assert plain(alert(synthetic=True)).startswith("[error] SYNTHETIC data: check failed: daily_prices\n")


def test_of_many_symbols_ten_are_named_and_the_rest_are_counted() -> None:
    symbols = tuple(f"S{number}" for number in range(13))
    assert named_symbols(symbols[:10]) == "S0, S1, S2, S3, S4, S5, S6, S7, S8, S9"
    assert named_symbols(symbols).endswith("S8, S9 and 3 more")
    told = plain(alert(finding(symbols=symbols, rows=4321)))
    assert "S9 and 3 more (4,321 rows in all)" in told


def test_links_are_the_routes_of_the_ui() -> None:
    assert run_link("http://ui/", "a b") == "http://ui/runs/a%20b"
    assert checks_link("http://ui", ["a", "b/c"]) == "http://ui/assets/a/b%2Fc?view=checks"


@given(
    st.lists(
        st.builds(
            Finding,
            st.text(max_size=300),
            reason=st.text(max_size=50) | st.text("<&>", min_size=2500, max_size=4000),
            check=st.none() | st.text(max_size=200),
            sessions=st.text(max_size=300),
            symbols=st.lists(st.text(max_size=20), max_size=15).map(tuple),
            rows=st.none() | st.integers(0, 10**9),
            link=st.text(max_size=1200),
            severity=st.sampled_from(Severity),
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([1, 30]),
)
@settings(max_examples=15)
def test_whatever_an_alert_says_it_keeps_to_the_limits_of_slack(findings: list[Finding], times: int) -> None:
    body = message(alert(*findings * times, link="http://ui/" + findings[0].link), held=findings[0].reason)

    assert len(body["text"]) <= 3000
    assert len(body["blocks"]) <= 50
    for block in body["blocks"]:
        if block["type"] == "header":
            assert 0 < len(block["text"]["text"]) <= 150
        else:
            parts = block["elements"] if block["type"] == "context" else [block["text"]]
            assert all(0 < len(part["text"]) <= 3000 for part in parts)
    assert set(body["text"]).isdisjoint("<>")


@given(st.text("ab&<>;\n", max_size=60), st.integers(2, 70))
@settings(max_examples=50)
def test_a_text_is_cut_between_characters_and_never_within_an_escape(text: str, longest: int) -> None:
    cut = escaped(text, longest)

    assert len(cut) <= longest
    whole = unescape(cut.removesuffix("…"))
    assert text.startswith(whole)
    assert whole == text or cut.endswith("…")


def test_the_same_finding_is_told_once_in_six_hours_and_what_was_held_back_is_counted(hook: Webhook) -> None:
    config = settings_of(hook)
    became = [AlertBook(config).send(alert(after=minutes)).webhook for minutes in (0, 1, 359, 360)]

    assert became == ["sent", "held: repeat", "held: repeat", "sent"]
    assert [line["webhook"] for line in lines()] == became
    assert "held back" not in texts(hook)[0]
    assert texts(hook)[1].endswith("2 more were held back since 12:01 UTC (2 repeats)")
    assert lines()[3]["told_of_held"] == "2 more were held back since 12:01 UTC (2 repeats)"


def test_another_session_check_asset_or_kind_is_no_repeat(hook: Webhook) -> None:
    book = AlertBook(settings_of(hook))
    others = [
        finding(),
        finding(sessions="2026-01-21"),
        finding(check="nulls"),
        finding("raw_bars"),
        finding(check=None),
    ]
    became = [book.send(alert(one)).webhook for one in others]
    became.append(book.send(Alert(Kind.RUN_FAILURE, NOON, (finding(),))).webhook)

    assert became == ["sent"] * 6


def test_an_alert_that_repeats_in_part_is_sent_with_what_is_new_and_noted_whole(hook: Webhook) -> None:
    book = AlertBook(settings_of(hook))
    book.send(alert(finding(check="nulls")))
    book.send(alert(finding(check="nulls"), finding(check="ohlc"), after=1))

    assert len(hook.bodies[1]["blocks"]) == 3
    assert "nulls" not in json.dumps(hook.bodies[1])
    assert lines()[1]["checks"] == ["nulls", "ohlc"]


def test_no_more_than_the_limit_are_sent_in_any_hour(hook: Webhook) -> None:
    config = settings_of(hook, alerts_an_hour=2)
    minutes = [0, 30, 31, 59.9, 60, 61, 90]
    became = [
        AlertBook(config).send(alert(finding(sessions=f"session {minute}"), after=minute)).webhook for minute in minutes
    ]

    assert became == ["sent", "sent", "held: rate", "held: rate", "sent", "held: rate", "sent"]
    assert texts(hook)[2].endswith("2 more were held back since 12:31 UTC")
    assert texts(hook)[3].endswith("1 more was held back since 13:01 UTC")


@given(
    st.lists(
        st.tuples(st.integers(0, 120), st.lists(st.sampled_from("abc"), min_size=1, max_size=2), st.booleans()),
        max_size=25,
    ),
    st.integers(1, 3),
)
@settings(max_examples=20)
def test_in_any_order_of_alerts_the_limits_hold_and_each_one_is_sent_or_counted(
    steps: list[tuple[int, list[str], bool]], an_hour: int
) -> None:
    now, attempts, told, counted, unsent = NOON, [], {}, 0, 0
    file = Path("state.json")
    file.unlink(missing_ok=True)
    for minutes, checks, is_taken in steps:
        now += timedelta(minutes=minutes)
        limits = AlertLimits(file, an_hour=an_hour)
        limits.load(now)
        decision = limits.decide(replace(alert(*(finding(check=check) for check in checks)), at=now))
        if decision.alert is None:
            unsent += 1
        else:
            attempts.append(now)
            limits.settle(decision, is_sent=is_taken)
            unsent += not is_taken
            counted += decision.held.count if is_taken else 0
            for found in decision.alert.findings if is_taken else ():
                assert now - told.get(found.check, now - REPEATED_AFTER) >= REPEATED_AFTER
            told |= {found.check: now for found in decision.alert.findings} if is_taken else {}
        limits.save()

        assert sum(now - HOUR < attempt for attempt in attempts) <= an_hour
        assert counted + limits.held.count == unsent


SENDING = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pydantic import SecretStr
from market_data.keeping.alert_record import Alert, Finding, Kind
from market_data.keeping.alerts import AlertBook
from market_data.settings import Settings
settings = Settings(runtime=Path("runtime"), alert_webhook=SecretStr(sys.argv[1]), alerts_an_hour=5)
Path("begun").touch()
for number in range(10):
    found = Finding(f"other{number}", "x" * 3000)
    AlertBook(settings).send(Alert(Kind.CHECK_FAILURE, datetime(2026, 1, 21, 12, 0, number, tzinfo=UTC), (found,)))
"""


def test_two_processes_count_together_and_their_lines_stay_whole(hook: Webhook) -> None:
    ended = []
    other = threading.Thread(target=lambda: ended.append(python(SENDING, hook.url)))
    other.start()
    while not Path("begun").exists() and other.is_alive():
        time.sleep(0.01)
    config = settings_of(hook, alerts_an_hour=5)
    for number in range(10):
        AlertBook(config).send(alert(finding(f"own{number}", reason="x" * 3000), after=number / 60))
    other.join()

    assert [process.stderr for process in ended] == [""]
    assert len(lines()) == 20
    assert sum(line["webhook"] == "sent" for line in lines()) == len(hook.bodies) == 5


@pytest.mark.parametrize(("status", "calls"), [(500, 2), (503, 2), (429, 2), (404, 1), (302, 1)])
def test_an_error_of_the_webhook_is_noted_and_only_one_that_may_pass_is_tried_again(
    hook: Webhook, status: int, calls: int
) -> None:
    hook.status, hook.location = status, hook.url if status == 302 else ""
    delivery = AlertBook(settings_of(hook), pause=0.01).send(alert())

    assert delivery.webhook == lines()[0]["webhook"] == f"failed: HTTP {status}"
    assert len(hook.bodies) == calls


def test_what_the_webhook_did_not_take_is_no_repeat_and_is_counted_with_the_next(hook: Webhook) -> None:
    config = settings_of(hook)
    hook.status = 404
    AlertBook(config).send(alert())
    hook.status = 200

    assert AlertBook(config).send(alert(after=5)).is_sent
    assert texts(hook)[1].endswith("1 more was held back since 12:00 UTC (1 could not be delivered)")


def test_a_refused_connection_is_noted(hook: Webhook) -> None:
    hook.server.server_close()
    AlertBook(settings_of(hook), pause=0.01).send(alert())
    assert lines()[0]["webhook"] == "failed: ConnectError"


def test_a_webhook_that_hangs_or_trickles_is_given_up_in_time_and_then_left_alone(hook: Webhook) -> None:
    hook.pause = 5.0
    started = time.monotonic()
    book = AlertBook(settings_of(hook), timeout=0.15, pause=0.01)
    book.send(alert(finding(check="a")))
    book.send(alert(finding(check="b")))
    assert time.monotonic() - started < 4
    first, second = (line["webhook"] for line in lines())
    # Which of the two limits is met first is a matter of how busy the machine is.
    assert first in ("failed: ReadTimeout", "failed: no answer within 0.61 s")
    assert second == first.replace("failed: ", "failed: left alone after ")

    hook.pause, hook.trickle = 0.0, 40
    delivery = AlertBook(settings_of(hook), timeout=0.15, pause=0.01).send(alert(finding(check="c")))
    assert delivery.webhook == "failed: no answer within 0.61 s"


@pytest.mark.parametrize(
    "url", ["ftp://host/secret-of-mine", "no url: secret-of-mine", "http://host:port/secret-of-mine"]
)
def test_a_url_that_is_none_is_noted_without_showing_it(url: str, caplog: pytest.LogCaptureFixture) -> None:
    AlertBook(settings_of(url=url)).send(alert())
    assert lines()[0]["webhook"] == "failed: not an http or https URL"
    assert "secret-of-mine" not in caplog.text


@pytest.mark.parametrize("status", [200, 302, 500])
def test_the_url_of_the_webhook_is_in_no_file_and_no_log(
    hook: Webhook, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    hook.status, hook.location = status, hook.url
    config = settings_of(hook)
    with caplog.at_level(logging.DEBUG):
        AlertBook(config, pause=0.01).send(alert(finding(reason=f"posting to {hook.url} failed")))

    assert "httpcore" in {record.name.split(".")[0] for record in caplog.records}
    shown = [caplog.text, repr(config), *(json.dumps(record.__dict__, default=str) for record in caplog.records)]
    shown += [path.read_text() for path in Path("runtime").rglob("*") if path.is_file()]
    shown += [json.dumps(hook.bodies)]
    assert not [text for text in shown if SECRET in text or "xoxsecret" in text]


def test_a_url_with_a_password_is_posted_to_and_the_password_is_shown_nowhere(
    hook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        url = hook.url.replace("http://", "http://me:pass%20secretword@")
        assert AlertBook(settings_of(url=url)).send(alert()).is_sent
    assert "secretword" not in caplog.text
    assert SECRET not in caplog.text


def test_a_torn_line_takes_no_other_with_it() -> None:
    Path("runtime").mkdir()
    Path("runtime/alerts.jsonl").write_text('{"kind": "check_fai')
    book = AlertBook(settings_of())
    book.send(alert(finding(check="nulls")))
    book.send(alert(finding(check="ohlc"), after=1))

    assert [line["checks"] for line in book.recent(10)] == [["nulls"], ["ohlc"]]
    assert [line["checks"] for line in book.recent(1)] == [["ohlc"]]
    assert book.recent(0) == []


def test_old_lines_can_be_forgotten() -> None:
    book = AlertBook(settings_of())
    assert book.forget(NOON) == 0
    for minutes in (0, 60, 120):
        book.send(alert(after=minutes))

    assert book.forget(NOON + timedelta(hours=1)) == 1
    assert [line["at"][11:16] for line in lines()] == ["13:00", "14:00"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"sent": ["yesterday"], "told": {}, "under_way": {}, "held": {}}'])
def test_a_state_that_cannot_be_read_counts_as_none(hook: Webhook, content: str) -> None:
    Path("runtime").mkdir()
    Path("runtime/alerts_state.json").write_text(content)
    assert AlertBook(settings_of(hook)).send(alert()).is_sent


def test_a_clock_that_was_set_back_neither_silences_nor_floods(hook: Webhook) -> None:
    config = settings_of(hook, alerts_an_hour=1)
    became = [AlertBook(config).send(alert(after=minutes)).webhook for minutes in (600, 0, 1)]
    assert became == ["sent", "sent", "held: repeat"]


def test_where_nothing_can_be_written_the_error_names_the_file_and_the_mend() -> None:
    Path("runtime").write_text("a file where the folder should be")
    with pytest.raises(MarketDataError, match=r"runtime/alerts.jsonl: alerts cannot be kept: .*MARKET_DATA_RUNTIME"):
        AlertBook(settings_of()).send(alert())


def test_a_test_alert_is_never_a_repeat_but_counts_to_the_limit(hook: Webhook) -> None:
    config = settings_of(hook, alerts_an_hour=2)
    became = [AlertBook(config).send(trial(lambda: NOON)).webhook for _ in range(3)]
    assert became == ["sent", "sent", "held: rate"]
    assert lines()[0]["severity"] == "info"
