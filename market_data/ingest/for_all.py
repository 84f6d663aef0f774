"""One call for every symbol: where a vendor answers for a whole session at once, and that costs less."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime

from market_data.ingest.commit import record_answer_for_all
from market_data.ingest.unit import Task, Worker, not_covered
from market_data.ingest.writer import Writer
from market_data.records import EVERY, FetchRequest
from market_data.selection.choice import Selector
from market_data.sessions import last_completed_session
from market_data.warehouse.holdings import HeldAnswer

__all__ = ["fetched_for_all"]


def fetched_for_all(
    tasks: Sequence[Task],
    selector: Selector,
    worker: Worker,
    writer: Writer,
    *,
    job_id: str,
    now: datetime,
    stop: threading.Event,
) -> list[Task]:
    """The tasks, with what could be had for all of them at once among their holdings.

    What is compared is a call for each session that any of the symbols lacks *anywhere in the window* with a call for
    each symbol, which answers the whole window. So a fresh store is filled symbol by symbol, however it is asked for,
    and a store that lacks last night's session alone by one call.
    """
    asking = [task for task in tasks if task.may_fetch and not task.again and _lacks(task)]
    sessions, symbols = _worth_asking([_open_sessions(task, now) for task in asking])
    if not sessions:
        return list(tasks)
    choice = selector.choose_for_all(sessions, symbols)
    if choice.provider is None:
        return list(tasks)
    answers = []
    for session in sessions:
        writer.release()
        attempt = worker.fetch_for_all(choice.provider, session)
        record_answer_for_all(writer.connection, attempt, FetchRequest(EVERY, session, session), job_id=job_id, now=now)
        if attempt.error is not None or attempt.stored is None or stop.is_set():
            break
        answers.append(HeldAnswer(attempt.stored, job_id))
    return [
        replace(task, holdings=replace(task.holdings, answers=(*task.holdings.answers, *answers))) for task in tasks
    ]


def _worth_asking(open_sessions: Sequence[Sequence[date]]) -> tuple[list[date], int]:
    """Sessions that save most calls when each is asked for once, and the number of symbols that lack no others.

    A symbol that lacks years, such as one new in the universe, is left to a call of its own.
    """
    best: tuple[list[date], int] = ([], 0)
    union: set[date] = set()
    for symbols, sessions in enumerate(sorted(open_sessions, key=len), start=1):
        union.update(sessions)
        if symbols - len(union) > best[1] - len(best[0]):
            best = (sorted(union), symbols)
    return best


def _lacks(task: Task) -> bool:
    """Whether no stored answer covers what is due."""
    return bool(len(not_covered(task.due, _answered(task))))


def _open_sessions(task: Task, now: datetime) -> list[date]:
    """Sessions of the instrument in the window that no stored answer covers; those due of a narrow task."""
    if task.narrow:
        return [day.date() for day in not_covered(task.due, _answered(task))]
    first, last = min(task.window[0], task.start), min(max(task.window[1], task.end), last_completed_session(now))
    held = task.holdings.first_bar
    sessions = task.instrument.expected_sessions(max(first, held) if held else first, max(first, last))
    return [day.date() for day in not_covered(sessions, _answered(task))]


def _answered(task: Task) -> list[FetchRequest]:
    return [held.stored.request for held in task.holdings.answers if held.stored.request.interval == "1d"]
