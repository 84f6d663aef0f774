"""An alert as Slack takes it at an incoming webhook: `{"text": ..., "blocks": [...]}`.

Limits are those of https://docs.slack.dev/reference/block-kit/blocks: 50 blocks a message, 3,000 characters the text
of a section, 150 that of a header. Escapes: https://docs.slack.dev/messaging/formatting-message-text.
"""

from __future__ import annotations

import re
from datetime import UTC
from typing import Any

from market_data.keeping.alert_record import Alert, Finding, named_symbols
from market_data.providers.redaction import redact

__all__ = ["escaped", "message", "plain"]

MOST_BLOCKS = 50
LONGEST_SECTION = 3000
LONGEST_HEADER = 150
LONGEST_TEXT = 3000
_AROUND = 3  # blocks besides those of the findings: the header, what was left out, the foot
_PART_OF_ESCAPE = re.compile(r"&[a-z]*$")


def escaped(text: str, longest: int) -> str:
    """The text with Slack's control characters escaped, cut with an ellipsis to at most `longest` characters."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if len(safe) <= longest:
        return safe
    return _PART_OF_ESCAPE.sub("", safe[: longest - 1]) + "…"


def message(alert: Alert, *, held: str = "") -> dict[str, Any]:
    """The body that is posted.

    Args:
        held: what is told of alerts that were held back before; empty for nothing.
    """
    shown = alert.findings[: MOST_BLOCKS - _AROUND]
    blocks = [_header(alert.title), *(_section(_of_finding(finding)) for finding in shown)]
    if left := len(alert.findings) - len(shown):
        blocks.append(_section(f"and {left} more"))
    blocks.append(_foot(alert, held))
    return {"text": escaped(plain(alert, held=held), LONGEST_TEXT), "blocks": blocks}


def plain(alert: Alert, *, held: str = "") -> str:
    """The same as plain text, for notifications and for a terminal; not escaped."""
    lines = [f"[{alert.severity}] {alert.title}"]
    for finding in alert.findings:
        check = f" {finding.check}" if finding.check else ""
        details = (f"{finding.asset}{check}", finding.sessions, _symbols(finding), redact(finding.reason))
        lines.append(": ".join(filter(None, details)))
    lines += [line for line in (alert.link, held) if line]
    return "\n".join(lines)


def _symbols(finding: Finding) -> str:
    symbols = named_symbols(finding.symbols)
    if symbols and finding.rows is not None and finding.rows > len(finding.symbols):
        symbols += f" ({finding.rows:,} rows in all)"
    return symbols


def _of_finding(finding: Finding) -> str:
    """Text of a section; the reason takes what room the rest leaves."""
    check = f" check `{escaped(finding.check, 100)}`" if finding.check else ""
    lines = [f"*{escaped(finding.asset, 200)}*{check} ({finding.severity})"]
    if finding.sessions:
        lines.append(f"sessions: {escaped(finding.sessions, 200)}")
    if finding.symbols:
        lines.append(f"symbols: {escaped(_symbols(finding), 400)}")
    foot = [_linked(finding.link, "checks")] if finding.link else []
    room = LONGEST_SECTION - sum(len(line) + 1 for line in (*lines, *foot))
    return "\n".join([*lines, escaped(redact(finding.reason), room), *foot])


def _foot(alert: Alert, held: str) -> dict[str, Any]:
    parts = [f"{alert.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC", str(alert.severity)]
    if alert.link:
        parts.append(_linked(alert.link, f"run {alert.run_id[:8]}" if alert.run_id else "open"))
    if held:
        parts.append(escaped(held, 300))
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": " | ".join(parts)}]}


def _linked(url: str, label: str) -> str:
    safe = escaped(url.replace("|", "%7C"), 1000)
    return f"<{safe}|{escaped(label, 100)}>"


def _header(title: str) -> dict[str, Any]:
    text = title if len(title) <= LONGEST_HEADER else title[: LONGEST_HEADER - 1] + "…"
    return {"type": "header", "text": {"type": "plain_text", "text": text}}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}
