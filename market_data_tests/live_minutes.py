"""Vendors that serve the minutes of a session under way, over httpx's own transport, on a clock that is set.

Bars follow from symbol and minute alone. The minute under way is served as well, with a close that is not its last.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx

from market_data.ingest.intraday.poller import SessionPolled, poll_session
from market_data.ingest.sources import Source
from market_data.providers.config import ProviderConfig
from market_data.providers.http import HttpSource
from market_data.providers.polygon import PolygonClient
from market_data.providers.yahoo import YahooClient
from market_data.records import Basis
from market_data.selection.meter import Meter, RateLimiter
from market_data.selection.quota import QuotaLedger
from market_data.selection.vendors import Arm, QuotaAwareSelector
from market_data.sessions import session_hours
from market_data.settings import Settings
from market_data_tests.bars import new_database
from market_data_tests.vendors import universe

SESSION = date(2026, 1, 20)
HALF_DAY = date(2025, 11, 28)
CLIENTS = {"polygon": PolygonClient, "yahoo": YahooClient}
MINUTE = timedelta(minutes=1)
Handler = Callable[[str, httpx.Request], httpx.Response | None]


class LiveClock:
    """A clock that goes on only while somebody sleeps, or when it is told to."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.naps: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += timedelta(seconds=seconds)


class LiveMarket:
    """Polygon and Yahoo, live.

    Attributes:
        seen: requests by vendor and ticker.
        asked_from: the instants asked from, by ticker, in order.
        handler: answers in place of a vendor where it gives an answer.
        untraded: minutes (ticker, instant) without a trade.
        changed: closes by (ticker, instant) that differ from the rule.
        took: seconds that pass on the clock with each request.
    """

    def __init__(self, clock: LiveClock, session: date = SESSION) -> None:
        self.clock = clock
        self.opens, self.closes = session_hours(session)
        self.seen: Counter[tuple[str, str]] = Counter()
        self.asked_from: dict[str, list[datetime]] = {}
        self.bodies: list[bytes] = []
        self.handler: Handler = lambda vendor, request: None
        self.untraded: set[tuple[str, datetime]] = set()
        self.changed: dict[tuple[str, datetime], Any] = {}
        self.took = 0.0
        self._lock = threading.Lock()

    def answer(self, vendor: str, request: httpx.Request) -> httpx.Response:
        """What the vendor sends."""
        ticker, since, until = (_polygon if vendor == "polygon" else _yahoo)(request)
        with self._lock:
            self.seen[vendor, ticker] += 1
            self.asked_from.setdefault(ticker, []).append(since)
            self.clock.now += timedelta(seconds=self.took)
        response = self.handler(vendor, request)
        if response is None:
            rows = self.rows(ticker, since, min(until, self.clock.now))
            response = self.sent(vendor, ticker, rows)
            self.bodies.append(response.content)
        return response

    def sent(self, vendor: str, ticker: str, rows: list[dict[str, Any]]) -> httpx.Response:
        """An answer with these bars; it may have none."""
        body = polygon_body(ticker, rows) if vendor == "polygon" else self._yahoo_body(ticker, rows)
        return httpx.Response(200, content=body, headers={"content-type": "application/json"})

    def rows(self, ticker: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Bars from `since` to `until`, the minute under way included."""
        found, moment = [], max(since, self.opens)
        while moment <= until and moment < self.closes:
            if (ticker, moment) not in self.untraded:
                row = bar(ticker, moment)
                if until < moment + MINUTE:
                    row["c"] = row["l"]
                found.append(row | {"c": self.changed.get((ticker, moment), row["c"])})
            moment += MINUTE
        return found

    def _yahoo_body(self, ticker: str, rows: list[dict[str, Any]]) -> bytes:
        return yahoo_body(ticker, rows, self.opens, self.closes, self.clock.now)


def bar(ticker: str, moment: datetime) -> dict[str, Any]:
    """The bar of a minute, as Polygon writes one."""
    place = int(moment.timestamp()) // 60 % 1000 + sum(map(ord, ticker)) % 50
    low = 100 + place / 8
    return {
        "t": int(moment.timestamp() * 1000),
        "o": low + 0.25,
        "h": low + 1,
        "l": low,
        "c": low + 0.5,
        "v": 1000 + place,
    }


def polygon_body(ticker: str, rows: list[dict[str, Any]]) -> bytes:
    """An aggregates answer; without rows it has no results."""
    document = {"ticker": ticker, "queryCount": len(rows), "resultsCount": len(rows), "adjusted": False, "status": "OK"}
    return json.dumps(document | ({"results": rows} if rows else {})).encode()


def yahoo_body(ticker: str, rows: list[dict[str, Any]], opens: datetime, closes: datetime, now: datetime) -> bytes:
    """A chart answer; without rows it has no timestamps."""
    period = {"start": int(opens.timestamp()), "end": int(closes.timestamp())}
    meta = {
        "symbol": ticker,
        "exchangeTimezoneName": "America/New_York",
        "regularMarketTime": int(now.timestamp()),
        "currentTradingPeriod": {"regular": period},
        "tradingPeriods": [[period]],
        "dataGranularity": "1m",
    }
    names = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
    quote = {name: [row[key] for row in rows] for name, key in names.items()} if rows else {}
    times = {"timestamp": [row["t"] // 1000 for row in rows]} if rows else {}
    return json.dumps({"chart": {"result": [{"meta": meta, **times, "indicators": {"quote": [quote]}}]}}).encode()


def _polygon(request: httpx.Request) -> tuple[str, datetime, datetime]:
    found = re.fullmatch(r"/v2/aggs/ticker/([A-Z.]+)/range/1/minute/([0-9]+)/([0-9-]+)", request.url.path)
    assert found, request.url.path
    begin = datetime.fromtimestamp(int(found[2]) / 1000, UTC)
    return found[1], begin, datetime.fromisoformat(found[3]).replace(tzinfo=UTC) + timedelta(days=2)


def _yahoo(request: httpx.Request) -> tuple[str, datetime, datetime]:
    first, last = (datetime.fromtimestamp(int(request.url.params[name]), UTC) for name in ("period1", "period2"))
    return request.url.path.rsplit("/", 1)[-1], first, last


class LiveStore:
    """A store below the working directory that is filled from a `LiveMarket`."""

    def __init__(
        self, names: list[str], *, session: date = SESSION, start: datetime | None = None, **settings: Any
    ) -> None:
        self.names = names
        self.universe = universe(names)
        self.session = session
        self.clock = LiveClock(start or session_hours(session)[0])
        self.market = LiveMarket(self.clock, session)
        self.stop = threading.Event()
        given: dict[str, Any] = {"runtime": Path("runtime"), "lock_patience": 5, "retry_wait": 0}
        self.settings = Settings(**given | settings)

    @contextmanager
    def source(self, *vendors: str, **limits: Any) -> Iterator[Source]:
        """The vendors, by priority; `limits` are fields of their configuration."""
        with ExitStack() as stack:
            arms = tuple(self._arm(name, place, stack, limits) for place, name in enumerate(vendors or ("polygon",)))
            ledger = QuotaLedger(self.settings.calls_file(synthetic=False), clock=self.clock)
            yield Source(
                name="vendors",
                label="live",
                selector=QuotaAwareSelector(arms, ledger, clock=self.clock),
                synthetic=False,
                served=self.names,
                arms=arms,
            )

    def _arm(self, name: str, place: int, stack: ExitStack, limits: dict[str, Any]) -> Arm:
        config = ProviderConfig(
            **{
                "name": name, "priority": place + 1, "tier": "live", "base_url": "https://live.test",
                "basis": Basis.RAW, "concurrency": 1, "point_in_time_tickers": name == "polygon",
            } | limits
        )  # fmt: skip
        ledger = QuotaLedger(self.settings.calls_file(synthetic=False), clock=self.clock)
        meter = Meter(config, ledger, RateLimiter(name, config.rates, self.settings.rates_file(synthetic=False)))
        stack.callback(meter.close)
        transport = httpx.MockTransport(lambda request: self.market.answer(name, request))
        http = HttpSource(
            config.base_url, transport=transport, wait=0, permit=meter.permit, concurrency=config.concurrency
        )
        client = CLIENTS[name](config, http, clock=self.clock)
        stack.callback(client.close)
        return Arm(config, client, meter)

    def polled(
        self,
        *vendors: str,
        names: list[str] | None = None,
        job_id: str = "job",
        limits: Any = None,
        prepared: bool = True,
        **more: Any,
    ) -> SessionPolled:
        """Poll the session from where the clock stands; `prepared`: over a database that is there already."""
        path = self.settings.database_for(synthetic=False)
        if prepared and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            new_database(path)
        with self.source(*vendors, **limits or {}) as source:
            return poll_session(
                self.settings,
                self.universe,
                source,
                self.session,
                names or self.names,
                job_id=job_id,
                clock=self.clock,
                **{"sleep": self.clock.sleep} | more,
            )

    def until(self, hour: int, minute: int = 0, second: int = 0) -> Callable[[float], None]:
        """A sleep that ends the polling at a time of the day (UTC): it sets `stop`."""
        end = datetime(self.session.year, self.session.month, self.session.day, hour, minute, second, tzinfo=UTC)

        def sleep(seconds: float) -> None:
            self.clock.sleep(seconds)
            if self.clock.now >= end:
                self.stop.set()

        return sleep

    def polled_until(self, hour: int, minute: int = 0, second: int = 0, **more: Any) -> SessionPolled:
        """Poll to a time of the day (UTC), the poll then due left out."""
        self.stop.clear()
        return self.polled(**{"sleep": self.until(hour, minute, second), "stop": self.stop} | more)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query of the database gives."""
        with duckdb.connect(str(self.settings.database_for(synthetic=False)), read_only=True) as connection:
            return connection.execute(query, list(values)).fetchall()

    def bars(self) -> dict[tuple[str, datetime], tuple[float, bool]]:
        """Close, and whether it is provisional, by symbol and UTC instant."""
        rows = self.rows("SELECT symbol, datetime, close, provisional FROM price_history_intraday")
        return {(symbol, moment.replace(tzinfo=UTC)): (close, live) for symbol, moment, close, live in rows}
