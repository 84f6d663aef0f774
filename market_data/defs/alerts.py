"""Sensors that turn failed runs, failing checks and failed ticks into alerts.

What an alert is, `market_data.keeping.alerts` knows.

Annotations are not postponed here: Dagster reads those of sensors when it defines them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from market_data.defs.alert_events import alert_of_run, alerts_of_checks, failing_since, newest_event
from market_data.defs.alert_ticks import alerts_of_ticks, failed_ticks
from market_data.defs.resources import MarketDataResource
from market_data.errors import MarketDataError
from market_data.keeping.alerts import AlertBook
from market_data.settings import Settings

__all__ = ["AlertNotKept", "failing_checks", "failing_ticks", "parts", "run_failures"]


class AlertNotKept(dg.DagsterError):
    """An alert could not be written; as Dagster's own error it fails the tick, which is then tried again."""


def parts(settings: Settings, sessions: dg.DailyPartitionsDefinition) -> dg.Definitions:
    """The sensors."""
    return dg.Definitions(sensors=[run_failures(), failing_checks(), failing_ticks()])


def run_failures() -> dg.SensorDefinition:
    """One alert a failed run, with each step that failed."""

    @dg.run_failure_sensor(
        name="run_failures",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=15,
        description="Alerts of every run that failed: asset, sessions, symbols, reason and a link to the run.",
    )
    def sensor(context: dg.RunFailureSensorContext, market_data: MarketDataResource) -> None:
        # Any other error would move this sensor's cursor on, past a failure nobody was told of.
        with _tried_again():
            settings = market_data.settings()
            alert = alert_of_run(
                context.dagster_run,
                context.failure_event,
                context.get_step_failure_events(),
                ui_url=settings.ui_url,
                at=market_data.clock()(),
                synthetic=market_data.is_synthetic(),
            )
            AlertBook(settings).send(alert)

    return sensor


def failing_checks() -> dg.SensorDefinition:
    """One alert a run with checks that did not pass, warnings as well as errors."""

    @dg.sensor(
        name="failing_checks",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Alerts of every check that did not pass, WARN and ERROR: asset, sessions, symbols, reason, link.",
    )
    def sensor(context: dg.SensorEvaluationContext, market_data: MarketDataResource) -> dg.SkipReason:
        newest = newest_event(context.instance)
        # The first tick begins here and tells nothing of the past; a cursor ahead of the log is of one that was wiped.
        if context.cursor is None or int(context.cursor) > newest:
            context.update_cursor(str(newest))
            return dg.SkipReason(f"begins after event {newest}")
        seen, failing = failing_since(context.instance, int(context.cursor))
        settings = market_data.settings()
        book = AlertBook(settings)
        alerts = alerts_of_checks(
            context.instance,
            failing,
            ui_url=settings.ui_url,
            at=market_data.clock()(),
            synthetic=market_data.is_synthetic(),
        )
        for alert in alerts:
            book.send(alert)
        context.update_cursor(str(seen))
        return dg.SkipReason(f"{len(alerts)} alerts" if alerts else "no check failed")

    return sensor


def failing_ticks() -> dg.SensorDefinition:
    """One alert a schedule or sensor whose evaluation failed since the last look, this one's own left out."""

    @dg.sensor(
        name="failing_ticks",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=60,
        description="Alerts of every schedule and sensor whose evaluation failed, which starts no run that could fail: "
        "name, reason and a link to its page.",
    )
    def sensor(context: dg.SensorEvaluationContext, market_data: MarketDataResource) -> dg.SkipReason:
        since = float(context.cursor or 0)
        failed = failed_ticks(context.instance, since=since, but=["failing_ticks"])
        seen = str(max([since, *(one.newest.timestamp for one in failed)]))
        if context.cursor is None:
            context.update_cursor(seen)
            return dg.SkipReason("begins here, and tells nothing of the past")
        settings = market_data.settings()
        book = AlertBook(settings)
        told = alerts_of_ticks(
            failed, ui_url=settings.ui_url, at=market_data.clock()(), synthetic=market_data.is_synthetic()
        )
        for alert in told:
            book.send(alert)
        context.update_cursor(seen)
        return dg.SkipReason(f"{len(told)} alerts" if told else "every evaluation went well")

    return sensor


@contextmanager
def _tried_again() -> Iterator[None]:
    try:
        yield
    except (MarketDataError, OSError) as error:
        raise AlertNotKept(str(error)) from None
