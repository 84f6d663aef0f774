"""What failed evaluations of schedules and sensors say, as alerts: a run that is never started fails nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus

from market_data.keeping.alert_record import Alert, Finding, Kind

__all__ = ["FailedTicks", "alerts_of_ticks", "failed_ticks"]

MOST_TICKS = 50
"""Failed ticks of a schedule or sensor that are counted at once."""


@dataclass(frozen=True, slots=True)
class FailedTicks:
    """The failed ticks of a schedule or sensor since some time.

    Attributes:
        kind: `schedule` or `sensor`.
        newest: the last of them.
    """

    name: str
    kind: str
    number: int
    newest: InstigatorTick


def failed_ticks(instance: dg.DagsterInstance, *, since: float, but: Sequence[str] = ()) -> list[FailedTicks]:
    """Of each schedule and sensor that ever ticked.

    Args:
        since: seconds since 1970 by the daemon's time; ticks at or before it do not count.
        but: names that are left out.
    """
    found = []
    for state in instance.all_instigator_state():
        ticks = instance.get_ticks(
            state.instigator_origin_id,
            state.selector_id,
            after=float(since),
            limit=MOST_TICKS,
            statuses=[TickStatus.FAILURE],
        )
        newer = [tick for tick in ticks if tick.timestamp > since]
        if newer and state.instigator_name not in but:
            kind = "schedule" if state.instigator_type is InstigatorType.SCHEDULE else "sensor"
            newest = max(newer, key=lambda tick: tick.timestamp)
            found.append(FailedTicks(state.instigator_name, kind, len(newer), newest))
    return sorted(found, key=lambda one: one.name)


def alerts_of_ticks(failed: Sequence[FailedTicks], *, ui_url: str, at: datetime, synthetic: bool) -> list[Alert]:
    """One alert each; of those that fail on and on, the limits of alerts hold back what was told before."""
    return [_alert(one, ui_url, at, synthetic=synthetic) for one in failed]


def _alert(failed: FailedTicks, ui_url: str, at: datetime, *, synthetic: bool) -> Alert:
    times = f"{failed.number} times, the last time: " if failed.number > 1 else ""
    reason = f"its evaluation failed {times}{_cause(failed.newest)}; next: see its page, mend what it names"
    link = f"{ui_url.rstrip('/')}/locations/market_data/{failed.kind}s/{quote(failed.name, safe='')}"
    finding = Finding(f"{failed.kind} {failed.name}", reason, link=link)
    return Alert(Kind.TICK_FAILURE, at, (finding,), link=link, synthetic=synthetic)


def _cause(tick: InstigatorTick) -> str:
    """The innermost error of a tick, in its first line."""
    error = tick.error
    while error is not None and error.cause is not None:
        error = error.cause
    return str(error.message).strip().splitlines()[0] if error is not None and error.message else "no reason was kept"
