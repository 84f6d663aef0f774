"""What validation found in the span, each thing once, and by rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date

import duckdb
import pyarrow as pa

from market_data.report.validation.document import Finding, RuleRow
from market_data.validation.rules import RULES
from market_data.warehouse.gaps import registered

__all__ = ["EXAMPLES", "meaning_of", "read_findings", "rule_rows", "rules_of"]

EXAMPLES = 8
"""Findings of a rule that are shown with it."""

_SEVERITIES = ("error", "warning", "info")


def read_findings(
    connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], start: date, end: date
) -> tuple[Finding, ...]:
    """Findings of the symbols by symbol and date, those about a whole batch first.

    They are of every answer that was judged, refused ones included. What the same provider's later answer shows again
    is one finding, as it was found last.
    """
    with registered(connection, scope=pa.table({"symbol": pa.array(list(symbols), pa.string())})):
        rows = connection.execute(_FINDINGS, {"start": start, "end": end}).fetchall()
    return tuple(Finding(*row) for row in rows)


_FINDINGS = """
SELECT symbol, date, rule, severity, field, value, limit_value, message, source_provider
FROM quality_findings SEMI JOIN scope USING (symbol)
WHERE date IS NULL OR date BETWEEN $start AND $end
QUALIFY row_number() OVER (PARTITION BY symbol, date, rule, field, severity, source_provider ORDER BY found_at DESC) = 1
ORDER BY symbol, date NULLS FIRST, rule, field, source_provider
"""


def rule_rows(findings: Sequence[Finding]) -> tuple[RuleRow, ...]:
    """Rules with a finding, most findings first; one that is an error of a batch and a warning of a bar is two rows.

    The examples are the newest, of as many symbols as there are before a second of one symbol.
    """
    by_rule: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault((finding.rule, finding.severity), []).append(finding)
    rows = [
        RuleRow(rule, severity, meaning_of(rule), len(found), len({item.symbol for item in found}), _examples(found))
        for (rule, severity), found in by_rule.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.findings, _rank(row.severity), row.rule)))


def meaning_of(rule: str) -> str:
    """What a rule finds, a sentence without a full stop; empty for one that is not known any more."""
    if rule in RULES:
        return RULES[rule].description
    of_bars = rule.removeprefix("intraday_")
    return f"{RULES[of_bars].description} (minutes)" if of_bars != rule and of_bars in RULES else ""


def rules_of(findings: Sequence[Finding], symbol: str) -> str:
    """The two rules that found most at a symbol, with how often."""
    counts = Counter(finding.rule for finding in findings if finding.symbol == symbol)
    return ", ".join(f"{rule} {count:,}" for rule, count in counts.most_common(2))


def _rank(severity: str) -> int:
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)


def _examples(found: Sequence[Finding]) -> tuple[Finding, ...]:
    newest = sorted(found, key=lambda item: (item.date is not None, item.date or date.min), reverse=True)
    seen: dict[str, int] = {}
    ranked = []
    for item in newest:
        seen[item.symbol] = seen.get(item.symbol, 0) + 1
        ranked.append((seen[item.symbol], item))
    ranked.sort(key=lambda pair: pair[0])
    return tuple(item for _, item in ranked[:EXAMPLES])
