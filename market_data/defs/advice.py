"""Why each check is there, and what to do when it does not pass: the second half of its description in the UI."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ADVICE", "Advice", "described"]

_AGAIN = (
    "re-materialize the session by the job `ask_again_job`: it asks the vendors although they answered before, and the "
    "newer answer wins"
)
_AMEND = "where every vendor has it wrong, `market-data amend` corrects a field on record"


@dataclass(frozen=True, slots=True)
class Advice:
    """Of one check.

    Attributes:
        why: what goes wrong downstream when it does not hold.
        step: what a person does when it does not pass.
    """

    why: str
    step: str


ADVICE = {
    ("daily_prices", "schema"): Advice(
        "everything downstream relies on these columns and ranges",
        "the rows name column and value; somebody wrote to the database by hand, or a parser changed: materialize "
        "`daily_prices` for the session again, which reads the stored payloads",
    ),
    ("daily_prices", "completeness"): Advice(
        "a missing bar is a hole in every return and feature that spans it",
        "the verdict of each row says why: `unanswered` and `missing`, " + _AGAIN + "; `rejected`, look at its "
        "reason, then launch with `retry_rejected: true`; gap_filling tries the rest by itself",
    ),
    ("daily_prices", "nulls"): Advice(
        "a bar without a price or volume is none for most uses",
        _AGAIN + "; a vendor that keeps sending nulls is closed in providers.yaml",
    ),
    ("daily_prices", "positivity"): Advice(
        "returns over a price of zero or less have no meaning",
        "validation lets none in, so the store was altered: materialize `daily_prices` for the sessions of the rows "
        "again; `market-data verify` tells what else differs from the raw store",
    ),
    ("daily_prices", "ohlc"): Advice(
        "range-based volatility and stops use high and low",
        _AGAIN + "; " + _AMEND,
    ),
    ("daily_prices", "continuity"): Advice(
        "a jump is a unit error, a split nobody told of, or news, and only the last is a return",
        "for a unit error (x100, x0.01) " + _AGAIN + "; for a split, materialize `corporate_actions`; " + _AMEND,
    ),
    ("daily_prices", "freshness"): Advice(
        "instruments that stop one session early were left out of the last load",
        "materialize the last session again; where the instrument was delisted, say so in the universe file",
    ),
    ("daily_prices", "basis"): Advice(
        "adjusted and raw prices must not stand side by side",
        "materialize `corporate_actions`, or give them with `market-data actions import`; it turns the bars to raw",
    ),
    ("daily_prices", "provenance"): Advice(
        "a number without its payload cannot be explained or rebuilt",
        "`market-data verify` names the payloads; restore them from a backup, or " + _AGAIN,
    ),
    ("daily_prices", "restatement"): Advice(
        "research done on the old prices may not hold on the new ones",
        "look at the moves; the old bars are in `revisions`, and `market-data asof` shows the store as it was",
    ),
    ("daily_prices", "reconciliation"): Advice(
        "two vendors that differ cannot both be right",
        "`market-data reconcile` compares more of them; where the stored one is wrong, " + _AGAIN + " or amend it",
    ),
    ("daily_prices", "current"): Advice(
        "a stale store trades on yesterday's news",
        "look at the schedule daily_sync and its last run; `Materialize` the missing sessions as a range",
    ),
    ("raw_bars", "current"): Advice(
        "what was not asked for cannot be stored",
        "look at the schedule daily_sync, and at provider_health for vendors that fail",
    ),
    ("corporate_actions", "current"): Advice(
        "a split nobody told of looks like a crash",
        "materialize `corporate_actions`; where a vendor refused, provider_health tells which",
    ),
    ("intraday_prices", "current"): Advice(
        "minutes that are not polled cannot be had later from every vendor",
        "look at the sensor intraday_session and its run; `market-data intraday backfill` asks for the past",
    ),
    ("provider_health", "provider_errors"): Advice(
        "a failing vendor leaves its share of the symbols to the others and their quotas",
        "the kinds of errors say whether it is the key, the plan, the rate or the vendor; `market-data quota` tells "
        "until when it is left alone",
    ),
    ("provider_health", "provider_quota"): Advice(
        "once a quota is spent, what only that vendor reaches has to wait",
        "leave it for what only it can serve (priority in providers.yaml), or wait for the reset named in the row",
    ),
    ("gap_filling", "open_gaps"): Advice(
        "a gap that is neither filled nor known to be nowhere is work nobody does",
        "raise MARKET_DATA_GAP_CALLS, or materialize `gap_filling` with `retry: true`; `market-data gaps` tells why "
        "each is open",
    ),
    ("features_daily", "features_from_canonical"): Advice(
        "a feature of prices that have changed since says what no longer holds",
        "materialize `features_daily` for the sessions of the rows; the run makes anew whatever else is stale",
    ),
    ("features_daily", "features_schema"): Advice(
        "a value that cannot be breaks every model that is fed with it",
        "materialize `features_daily` for the session with `force: true`; where it stays, mend its price",
    ),
    ("intraday_prices", "intraday_gaps"): Advice(
        "missing minutes bend volume-weighted prices",
        "`market-data intraday backfill` asks for the session again; a thin name may just not have traded",
    ),
    ("intraday_prices", "intraday_provisional"): Advice(
        "a provisional minute may still change, and is not used as a benchmark",
        "materialize the session's partition: what a died poller left is applied; else `market-data intraday backfill`",
    ),
    ("intraday_prices", "intraday_agreement"): Advice(
        "minutes and days that differ are of two bases, or one of them is wrong",
        "look which side stands alone: `continuity` for the day, `intraday_gaps` for the minutes",
    ),
    ("execution_feedback", "executions_schema"): Advice(
        "costs are only as good as the executions they are of",
        "correct the file and drop it again; a correction replaces the row and keeps its predecessor",
    ),
    ("execution_feedback", "executions_quarantine"): Advice(
        "an order that was not read is missing in every cost",
        "each row names file, line and reason; correct the line and drop the file again",
    ),
    ("execution_feedback", "executions_price_range"): Advice(
        "nobody trades outside of what the session traded at: the price, symbol or session is wrong",
        "correct the execution, or the bar if `continuity` names it too",
    ),
    ("execution_slippage", "slippage_complete"): Advice(
        "an order without a benchmark says nothing of its cost",
        "materialize the session of the row in daily_prices; the order is then measured by itself",
    ),
    ("execution_slippage", "slippage_outliers"): Advice(
        "a cost this large is more likely a wrong price, side or symbol",
        "compare the row's price with the bar; correct whichever is wrong",
    ),
}
"""By asset and check."""


def described(asset: str, check: str, says: str) -> str:
    """What a check says, why it is there, and what to do when it does not pass; in Markdown."""
    advice = ADVICE.get((asset, check))
    if advice is None:
        return says
    return f"{says}\n\n**Why:** {advice.why}.\n\n**If it does not pass:** {advice.step}."
