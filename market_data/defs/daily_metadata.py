"""Numbers, tables and a plot of what the daily assets and the corporate actions did, as the UI shows them."""

from __future__ import annotations

import base64
import io
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import dagster as dg
import duckdb
import pandas as pd

from market_data.defs.show import SHOWN, Metadata, table
from market_data.ingest.actions import ActionsFetched
from market_data.ingest.backfill import Summary
from market_data.ingest.partitions import Fetched

__all__ = ["actions", "answers_told", "bars_by_session", "fetched", "quality", "scores_by_session", "summary"]


def actions(connection: duckdb.DuckDBPyConnection, result: ActionsFetched) -> Metadata:
    """What corporate_actions did, and what is known now."""
    counts = connection.execute("SELECT kind, count(*) FROM corporate_actions GROUP BY kind ORDER BY kind").fetchall()
    conflicts = connection.execute(
        "SELECT symbol, message FROM action_conflicts ORDER BY symbol, date, kind"
    ).fetchall()
    metadata: Metadata = {
        "dagster/row_count": sum(count for _, count in counts),
        **{f"{kind}s": count for kind, count in counts},
        "conflicts": len(conflicts),
        "calls": result.calls,
        "symbols with news": len(result.symbols),
        "failed": len(result.failed),
    }
    if conflicts:
        rows = [{"symbol": symbol, "conflict": message} for symbol, message in conflicts[:SHOWN]]
        metadata["conflicts told"] = table(rows)
    if result.failed:
        rows = [{"symbol": symbol, "reason": reason} for symbol, reason in list(result.failed.items())[:SHOWN]]
        metadata["failures"] = table(rows)
    return metadata


def fetched(result: Fetched) -> Metadata:
    """What raw_bars did."""
    metadata: Metadata = {
        "symbols": len(result.answered),
        "calls": result.calls,
        "bytes": result.size,
        "failed": len(result.failed),
        "lacking": len(result.lacking),
    }
    if result.by_provider:
        metadata["asked"] = ", ".join(f"{name} {count}" for name, count in sorted(result.by_provider.items()))
    if result.failed:
        rows = [{"symbol": symbol, "reason": reason} for symbol, reason in list(result.failed.items())[:SHOWN]]
        metadata["failures"] = table(rows)
    if result.lacking:
        metadata["lacking symbols"] = ", ".join(result.lacking)
    return metadata


def summary(result: Summary) -> Metadata:
    """What daily_prices did."""
    outcomes = Counter(str(record.outcome) for record in result.records)
    metadata: Metadata = {
        "dagster/row_count": result.rows + sum(record.rows_unchanged for record in result.records),
        "range_symbols": len(result.records),
        "rows_inserted": sum(record.rows_inserted for record in result.records),
        "rows_updated": sum(record.rows_updated for record in result.records),
        "rows_unchanged": sum(record.rows_unchanged for record in result.records),
        "range_rejected": outcomes["rejected"],
        "outcomes": table([{"outcome": name, "symbols": count} for name, count in sorted(outcomes.items())]),
    }
    not_good = [record for record in result.records if not record.outcome.is_good]
    if not_good:
        metadata["not accepted"] = table(
            [
                {"symbol": record.symbol, "outcome": str(record.outcome), "reason": record.reason or ""}
                for record in not_good[:SHOWN]
            ]
        )
    return metadata


def answers_told(by_session: pd.DataFrame) -> dict[str, Metadata]:
    """Numbers of raw_bars for each partition."""
    return {
        _key(row): {"payloads": int(row["payloads"]), "providers": int(row["providers"])}
        | ({} if math.isnan(row["p95_latency_ms"]) else {"p95_latency_ms": round(float(row["p95_latency_ms"]), 1)})
        for row in by_session.to_dict("records")
    }


def bars_by_session(by_session: pd.DataFrame) -> dict[str, Metadata]:
    """Numbers of daily_prices for each partition."""
    return {
        _key(row): {
            "dagster/partition_row_count": int(row["held"]),
            "symbols": int(row["expected"]),
            "coverage": round(float(row["held"] / row["expected"]), 6),
            "flagged": int(row["flagged"]),
            "rejected": int(row["rejected"]),
            "missing": int(row["missing"]),
            "score": round(float(row["mean_score"]), 6),
        }
        for row in by_session.to_dict("records")
    }


def scores_by_session(by_session: pd.DataFrame) -> dict[str, Metadata]:
    """Numbers of quality_log for each partition."""
    return {
        _key(row): {
            "score": round(float(row["mean_score"]), 6),
            "least_score": round(float(row["least_score"]), 6),
            "flagged": int(row["flagged"]),
            "dagster/partition_row_count": int(row["expected"]),
        }
        for row in by_session.to_dict("records")
    }


def _key(row: Mapping[Any, Any]) -> str:
    return pd.Timestamp(row["date"]).date().isoformat()


def quality(by_session: pd.DataFrame, worst: pd.DataFrame, unanswered: int) -> Metadata:
    """Scores of the span: numbers, the worst symbols, and a plot."""
    expected = int(by_session["expected"].sum())
    held = int(by_session["held"].sum())
    metadata: Metadata = {
        "range_expected": expected,
        "range_held": held,
        "range_flagged": int(by_session["flagged"].sum()),
        "range_missing": int(by_session["missing"].sum()),
        "range_rejected": int(by_session["rejected"].sum()),
        "range_unanswered": int(by_session["unanswered"].sum()),
        "newly_unanswered": unanswered,
        "range_score": float((by_session["mean_score"] * by_session["expected"]).sum() / expected) if expected else 0.0,
    }
    if len(worst):
        metadata["worst symbols"] = table(worst.round(4).to_dict("records"))
    if len(by_session) > 1:
        metadata["scores and bars"] = dg.MetadataValue.md(_plot(by_session))
    return metadata


def _plot(by_session: pd.DataFrame) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    lost, score = figure.subplots(2, sharex=True)
    days = by_session["date"]
    names = ["missing", "rejected", "unanswered"]
    lost.stackplot(days, *(by_session[name] for name in names), labels=names, colors=["#e0a030", "#b8433b", "#9aa3af"])
    lost.set_title(f"expected bars that are not held, of {int(by_session['expected'].max())} a session", fontsize=10)
    lost.set_ylabel("instruments")
    lost.set_ylim(0, max(1.0, 1.35 * float(by_session[names].sum(axis=1).max())))
    lost.legend(loc="upper right", ncols=3, frameon=False, fontsize=8)
    score.plot(days, by_session["mean_score"], color="#2f7d4f", linewidth=0.8)
    score.set_title("mean score of a session", fontsize=10)
    score.set_ylim(max(0.0, float(by_session["mean_score"].min()) - 0.02), 1.005)
    for axes in (lost, score):
        axes.spines[["top", "right"]].set_visible(False)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=90)
    encoded = base64.b64encode(image.getvalue()).decode()
    return f"![expected bars not held, and mean score, by session](data:image/png;base64,{encoded})"
