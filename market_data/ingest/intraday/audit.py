"""The audit of a polled session: one record for each symbol, in the table and as a line of JSONL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import duckdb

from market_data.ingest.audit_file import AuditFile
from market_data.ingest.intraday.due import MinutesDue, expected_minutes
from market_data.ingest.intraday.reading import ANSWERED, EMPTY, ReadPoll
from market_data.ingest.sources import Source
from market_data.records import AuditRecord, Outcome
from market_data.settings import Settings
from market_data.warehouse.holdings import audit_lines
from market_data.warehouse.store import forget_audit, record_audit

__all__ = ["KIND", "SessionAudit"]

KIND = "intraday"
_SHOWN = 20


class SessionAudit:
    """Counts what polls bring for each symbol, and makes the records at the end.

    Args:
        symbols: every symbol asked about.
        listed: those of them that are listed on the session's day.
    """

    def __init__(
        self,
        settings: Settings,
        session: date,
        symbols: Sequence[str],
        listed: Sequence[str],
        *,
        job_id: str,
        source: Source,
    ) -> None:
        self.symbols = list(symbols)
        self._session = session
        self._listed = set(listed)
        self._job_id = job_id
        self._synthetic = source.synthetic
        self._file = AuditFile(settings.audit_folder, KIND, job_id)
        self._calls: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._received: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._answers: dict[str, Counter[str]] = {}
        self._providers: dict[str, Counter[str]] = {}
        self._last: dict[str, str] = {}
        self._held: dict[str, int] = {}
        self._started_at: datetime | None = None

    def begin(self, due: MinutesDue, now: datetime) -> None:
        """Note what is held before the first poll."""
        self._started_at = now
        self._held = {symbol: due.held(symbol)[0] for symbol in due.symbols}

    def note(self, read: ReadPoll) -> None:
        """Count a poll."""
        for asked, outcome in zip(read.poll.asked, read.outcomes, strict=True):
            self._calls[asked.symbol] += asked.calls
            self._bytes[asked.symbol] += len(asked.payload.body) if asked.payload is not None else 0
            self._answers.setdefault(asked.symbol, Counter())[outcome] += 1
            if outcome == ANSWERED:
                self._providers.setdefault(asked.symbol, Counter())[asked.provider] += 1
            if outcome not in (ANSWERED, EMPTY):
                self._last[asked.symbol] = f"{asked.provider}: {asked.message or outcome}"
        for symbol, why in read.poll.left_out.items():
            self._answers.setdefault(symbol, Counter())["left_out"] += 1
            self._last[symbol] = why
        self._received.update(read.bars["symbol"].tolist())
        self._refused.update(read.refused["symbol"].tolist())

    def records(self, due: MinutesDue, now: datetime) -> list[AuditRecord]:
        """A record for each symbol."""
        return [self._record(symbol, due, now) for symbol in self.symbols]

    def write(self, connection: duckdb.DuckDBPyConnection, records: Sequence[AuditRecord]) -> None:
        """Write the records, in place of those the job left before."""
        forget_audit(connection, self._job_id, self.symbols)
        record_audit(connection, records)

    def write_file(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make the JSONL file say what the table says, once that is committed."""
        self._file.reconcile(audit_lines(connection, self._job_id))

    def _record(self, symbol: str, due: MinutesDue, now: datetime) -> AuditRecord:
        common: dict[str, Any] = {
            "job_id": self._job_id,
            "symbol": symbol,
            "kind": KIND,
            "start_date": self._session,
            "end_date": self._session,
            "synthetic": self._synthetic,
            "started_at": self._started_at or now,
            "finished_at": now,
        }
        if symbol not in self._listed:
            return AuditRecord(**common, outcome=Outcome.NOT_LISTED, reason=f"it is not listed on {self._session}")
        held, provisional = due.held(symbol)
        providers = self._providers.get(symbol)
        return AuditRecord(
            **common,
            outcome=self._outcome(symbol, held),
            provider=providers.most_common(1)[0][0] if providers else None,
            reason=self._reason(symbol, held, provisional),
            calls=self._calls[symbol],
            attempts=self._calls[symbol],
            sessions_expected=1,
            sessions_missing=0 if held else 1,
            rows_received=self._received[symbol],
            rows_inserted=held - self._held.get(symbol, 0),
            findings=self._refused[symbol],
            bytes=self._bytes[symbol],
            decision=[self._told(symbol, due)],
        )

    def _outcome(self, symbol: str, held: int) -> Outcome:
        if held:
            return Outcome.ACCEPTED
        answers = self._answers.get(symbol, Counter())
        return Outcome.NO_DATA if answers[EMPTY] else Outcome.FAILED

    def _reason(self, symbol: str, held: int, provisional: int) -> str | None:
        lacking = expected_minutes(self._session) - held
        parts = [f"{lacking} of {held + lacking} minutes have no bar"] if lacking else []
        parts += [f"{provisional} may still change"] if provisional else []
        parts += [f"last trouble: {self._last[symbol]}"] if symbol in self._last and (lacking or provisional) else []
        return "; ".join(parts) or None

    def _told(self, symbol: str, due: MinutesDue) -> dict[str, Any]:
        missing, providers = due.missing(symbol), self._providers.get(symbol, Counter())
        return {
            "providers": dict(providers),
            "answers": dict(self._answers.get(symbol, Counter())),
            "minutes_expected": expected_minutes(self._session),
            "minutes_held": due.held(symbol)[0],
            "minutes_provisional": due.held(symbol)[1],
            "minutes_missing": len(missing),
            "missing": [f"{moment:%H:%M}" for moment in missing[:_SHOWN]],
            "refused": self._refused[symbol],
        }
