"""What the runs of a scenario came to, by policy."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from market_data_tests.simulation.run import Result

__all__ = ["Row", "lines", "rows"]


@dataclass(frozen=True, slots=True)
class Row:
    """A policy in a scenario: means over the seeds.

    Attributes:
        due: symbol-windows that fell due.
        accepted: those of them that were accepted.
        spread: sample standard deviation of `accepted` over the seeds.
        share: `accepted` of `due`.
        single: share accepted of the windows of symbols that one vendor alone serves.
        calls: calls sent.
        wasted: calls that brought no accepted batch.
        late: days from due to accepted, over all sessions and backfill windows.
        exceeded: calls beyond a quota, over all seeds.
    """

    scenario: str
    policy: str
    seeds: int
    due: float
    accepted: float
    spread: float
    share: float
    single: float
    calls: float
    wasted: float
    late: float
    exceeded: int

    def told(self) -> dict[str, float | int | str]:
        """The row as JSON."""
        return {name: round(x, 5) if isinstance(x, float) else x for name, x in asdict(self).items()}


def rows(results: Sequence[Result]) -> list[Row]:
    """A row for each policy of each scenario, in the order met."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.scenario, result.policy), []).append(result)
    return [_row(group) for group in groups.values()]


def _row(group: list[Result]) -> Row:
    accepted = [sum(result.accepted) for result in group]
    due = statistics.mean(sum(result.due) for result in group)
    return Row(
        scenario=group[0].scenario,
        policy=group[0].policy,
        seeds=len(group),
        due=due,
        accepted=statistics.mean(accepted),
        spread=statistics.stdev(accepted) if len(accepted) > 1 else 0.0,
        share=statistics.mean(accepted) / due,
        single=sum(result.single_accepted for result in group) / sum(result.single_due for result in group),
        calls=statistics.mean(sum(map(sum, result.calls.values())) for result in group),
        wasted=statistics.mean(result.wasted for result in group),
        late=statistics.mean(result.late / result.items for result in group),
        exceeded=sum(result.exceeded for result in group),
    )


def lines(table: Sequence[Row]) -> list[str]:
    """The rows as text, a block for each scenario."""
    head = (
        f"{'policy':<20}{'accepted':>10}{'spread':>8}{'of due':>9}{'single':>9}{'calls':>9}{'wasted':>8}"
        f"{'days late':>11}{'exceeded':>10}"
    )
    told: list[str] = []
    for row in table:
        title = f"{row.scenario}: {row.due:,.0f} symbol-windows due, means of {row.seeds} seeds"
        if title not in told:
            told += ["", title, head]
        told.append(
            f"{row.policy:<20}{row.accepted:>10,.0f}{row.spread:>8.0f}{row.share:>9.2%}{row.single:>9.1%}"
            f"{row.calls:>9,.0f}{row.wasted:>8,.0f}{row.late:>11.3f}{row.exceeded:>10}"
        )
    return told[1:]
