"""Tasks carried out side by side: many fetch, one judges, and the caller writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from market_data.ingest.unit import Attempt, Prepared, Task, Worker

__all__ = ["carried_out"]

_IDLE = 0.2


def carried_out(
    tasks: Sequence[Task],
    worker: Worker,
    *,
    concurrency: int,
    stop: threading.Event,
    on_idle: Callable[[], None],
) -> Iterator[Prepared]:
    """Tasks in the order they end, each tried until nothing is left of it or no provider may be asked.

    A vendor's latency is hidden by fetching for `concurrency` tasks at once. Parsing and judging is plain computation,
    which more threads would only slow down: one does it, while the caller writes what came before.

    Args:
        stop: once set, nothing new is begun, and what is under way is finished.
        on_idle: called when there was nothing to hand out for a while.
    """
    waiting = iter(tasks)
    with ThreadPoolExecutor(concurrency, "fetch") as fetching, ThreadPoolExecutor(1, "judge") as judging:
        fetched: dict[Future[Attempt | None], Prepared] = {}
        judged: dict[Future[Attempt], Prepared] = {}
        while True:
            while len(fetched) + len(judged) < 2 * concurrency and not stop.is_set():
                task = next(waiting, None)
                if task is None:
                    break
                begun = worker.begin(task)
                fetched[fetching.submit(worker.fetch, begun)] = begun
            if not fetched and not judged:
                return
            flying: list[Future[Any]] = [*fetched, *judged]
            finished, _ = wait(flying, timeout=_IDLE, return_when=FIRST_COMPLETED)
            if not finished:
                on_idle()
            for future in [item for item in fetched if item in finished]:
                prepared, attempt = fetched.pop(future), future.result()
                if attempt is None:
                    yield prepared
                else:
                    judged[judging.submit(worker.judge, prepared, attempt)] = prepared
            for judgement in [item for item in judged if item in finished]:
                prepared = judged.pop(judgement)
                prepared.add(judgement.result())
                if not len(prepared.left) or stop.is_set():
                    yield prepared
                else:
                    fetched[fetching.submit(worker.fetch, prepared)] = prepared
