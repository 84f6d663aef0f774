"""Documents of a validation report made by hand, small enough to know every figure of; and a page read back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser

import numpy as np

from market_data.report.validation.document import (
    ActionRow,
    CheckRow,
    Finding,
    GapRow,
    Headline,
    PairRow,
    PriceSeries,
    ProviderRow,
    ReportDocument,
    RestatementRow,
    RuleRow,
    ScoreBin,
    SessionRow,
    SymbolRow,
)

HOSTILE = "</script><img src=x onerror=alert(1)>"
"""A name that would run, were it ever taken for markup."""

MADE = datetime(2024, 4, 1, 0, 45, tzinfo=UTC)
START, END = date(2024, 1, 1), date(2024, 3, 29)
DAYS = [day for day in (START + timedelta(days=n) for n in range((END - START).days + 1)) if day.weekday() < 5]
MONTHS = ("2024-01", "2024-02", "2024-03")


def finding(symbol: str, place: int, rule: str = "log_return", severity: str = "warning", message: str = "") -> Finding:
    text = message or f"close moved too far on {DAYS[place]}"
    return Finding(symbol, DAYS[place], rule, severity, "close", 0.75, 0.5, text, "polygon")


def series(
    symbol: str, lacking: int = 0, findings: tuple[Finding, ...] = (), refusal: str | None = None
) -> PriceSeries:
    """Closes that rise by a dollar a session from 100, halved by factor 0.5 before the fortieth."""
    places = np.arange(lacking, len(DAYS), dtype=np.int32)
    raw = 100.0 + places
    adjusted = np.where(places < 40, 0.5, 1.0) * raw if refusal is None else np.full(len(raw), np.nan)
    return PriceSeries(symbol, places, raw, adjusted, 1000.0 + places, refusal, findings)


def symbol_row(
    symbol: str, lacking: int = 0, findings: int = 0, name: str = "", reason: str | None = None
) -> SymbolRow:
    """An instrument that lacks its first `lacking` sessions."""
    held = len(DAYS) - lacking
    days = [DAYS[lacking:], DAYS]
    counts = [[sum(f"{day:%Y-%m}" == month for day in part) for month in MONTHS] for part in days]
    return SymbolRow(
        symbol=symbol,
        name=name or f"{symbol} Inc.",
        exchange="XNYS",
        first=DAYS[lacking] if held else None,
        last=DAYS[-1] if held else None,
        expected=len(DAYS),
        rows=held,
        coverage=held / len(DAYS),
        mean_score=held / len(DAYS) - 0.001 * findings,
        least_score=0.0 if lacking else 1.0,
        flagged=findings,
        missing=lacking,
        rejected=0,
        unanswered=0,
        findings=findings,
        months=tuple(own / of for own, of in zip(*counts, strict=True)),
        providers={"polygon": held} if held else {},
        reason=reason,
    )


def document(symbols: Sequence[SymbolRow] = (), **changes: object) -> ReportDocument:
    """A report of AAA (whole), BBB (lacks ten sessions, one finding) and one with a hostile name; or of `symbols`."""
    found = finding("BBB", 20)
    hostile = finding(HOSTILE, 30, message=HOSTILE)
    rows = tuple(symbols) or (
        symbol_row("AAA", name="Alpha & Sons"),
        symbol_row("BBB", lacking=10, findings=1),
        symbol_row(HOSTILE, findings=1, name=HOSTILE, reason=HOSTILE),
    )
    expected, held = sum(row.expected for row in rows), sum(row.rows for row in rows)
    made = ReportDocument(
        generated_at=MADE,
        start=START,
        end=END,
        synthetic=True,
        database="/somewhere/private/synthetic.duckdb",
        version="0.1.0",
        headline=Headline(
            symbols=len(rows),
            sessions=len(DAYS),
            expected=expected,
            rows=held,
            coverage=held / expected,
            mean_score=0.98765,
            flagged=2,
            missing=expected - held,
            rejected=0,
            unanswered=0,
            rejected_symbols=0,
            open_gaps=1234,
            known_gaps=5,
            last_session=DAYS[-1],
            last_sync=MADE - timedelta(minutes=25),
        ),
        months=MONTHS,
        sessions=tuple(
            SessionRow(day, len(rows), len(rows) - (place < 10), 0, int(place < 10), 0, 0, 1 - 0.3 * (place < 10))
            for place, day in enumerate(DAYS)
        ),
        symbols=rows,
        scores=(ScoreBin(0.0, 0.5, expected - held), ScoreBin(0.5, 1.0, held)),
        rules=(
            RuleRow("log_return", "warning", "Close too far from the one before.", 12, 2, (found, hostile)),
            RuleRow("zero_price", "error", "Price of zero.", 1, 1, ()),
        ),
        providers=(
            ProviderRow(
                "polygon", held, 1.0, 9, 6, 1, 1, 1, {"RateLimited": 1}, 120.0, 1900.0, 49991, 50000, "month", MADE
            ),
            ProviderRow("yahoo", 0, 0.0, 0, 0, 0, 0, 0, {}, None, None, None, None, None, None),
        ),
        restatements=(
            RestatementRow("BBB", DAYS[12], 112.0, 113.4, 0.0125, "yahoo", "polygon", MADE, "a newer answer"),
        ),
        actions=(
            ActionRow("AAA", DAYS[40], "split", 2.0, "polygon", "yahoo"),
            ActionRow("BBB", DAYS[15], "dividend", 0.3, "yahoo", ""),
        ),
        pairs=(PairRow("polygon", "yahoo", 1200, 3, 0.0123, ("BBB",)),),
        gaps=(GapRow("BBB", DAYS[0], DAYS[9], 10, "open", "no provider has it yet", 2, MADE + timedelta(hours=6)),),
        checks=(
            CheckRow("positive", "Every price is above zero.", True, True, 0, "168 bars"),
            CheckRow("completeness", "Every expected session has a bar.", False, True, 10, "10 sessions lack a bar"),
        ),
        series=tuple(
            series(row.symbol, row.missing, tuple(item for item in (found, hostile) if item.symbol == row.symbol))
            for row in rows
        ),
        truncated={},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def empty_document() -> ReportDocument:
    """A report of a store that holds nothing."""
    nothing = Headline(0, 0, 0, 0, None, None, 0, 0, 0, 0, 0, 0, 0, None, None)
    told = ("months", "sessions", "symbols", "scores", "rules", "providers", "checks", "series")
    emptied = dict.fromkeys((*told, "restatements", "actions", "pairs", "gaps"), ())
    return replace(document(), headline=nothing, synthetic=False, **emptied)  # type: ignore[arg-type]


def many_symbols(count: int) -> ReportDocument:
    """A report of S000, S001 and so on: the n-th lacks n sessions, up to fifteen, and every tenth has a finding."""
    rows = tuple(symbol_row(f"S{n:03d}", lacking=n % 16, findings=int(n % 10 == 0)) for n in range(count))
    actions = tuple(
        ActionRow(f"S{n % count:03d}", DAYS[n % len(DAYS)], "dividend", round(0.1 + math.sin(n) ** 2, 2), "polygon", "")
        for n in range(450)
    )
    return document(rows, actions=actions, truncated={"actions": 1234})


VOID = {"meta", "input", "br", "img", "link"}


class Page(HTMLParser):
    """Elements in order, each a (tag, attributes, text within)."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        element = (tag, dict(attrs), [])
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        opened = self.open.pop()[0]
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data):
        for element in self.open:
            element[2].append(data)

    def all(self, tag, **attributes):
        found = [(attrs, " ".join("".join(text).split())) for name, attrs, text in self.elements if name == tag]
        return [item for item in found if all(item[0].get(key) == value for key, value in attributes.items())]

    def text_of(self, identity):
        [text] = [text for _, attrs, text in self.elements if attrs.get("id") == identity]
        return "".join(text)

    def tables(self):
        """Rows of cells of each table, by its caption."""
        found, rows = {}, []
        for name, _, text in self.elements:
            told = " ".join("".join(text).split())
            if name == "caption":
                rows = found.setdefault(told, [])
            elif name == "tr":
                rows.append([])
            elif name in ("td", "th"):
                rows[-1].append(told)
        return found
