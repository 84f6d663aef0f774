"""How each session was answered by vendors: payloads, vendors, and how long these took."""

from __future__ import annotations

from datetime import date

import duckdb
import numpy as np
import pandas as pd

from market_data.sessions import sessions_between

__all__ = ["answers_by_session"]

_ANSWERS = (
    "SELECT first_date, last_date, provider, latency_ms FROM coverage WHERE outcome = 'answered' AND feed = 'bars' "
    "AND interval = '1d' AND last_date >= ? AND first_date <= ?"
)


def answers_by_session(connection: duckdb.DuckDBPyConnection, start: date, end: date) -> pd.DataFrame:
    """Stored answers that cover each session of the span, both ends inclusive.

    Returns:
        One row a session: date (datetime64[s]), payloads (int), providers (int), p95_latency_ms (float, NaN where no
        latency is known, as of an archive).
    """
    answers = connection.execute(_ANSWERS, [start, end]).df()
    sessions = sessions_between(start, end).to_numpy().astype("datetime64[s]")
    first, last = (answers[name].to_numpy().astype("datetime64[s]") for name in ("first_date", "last_date"))
    provider = pd.factorize(answers["provider"])[0]
    latency = answers["latency_ms"].to_numpy(dtype=float)
    rows = []
    for session in sessions:
        covers = (first <= session) & (last >= session)
        known = latency[covers & ~np.isnan(latency)]
        p95 = float(np.percentile(known, 95)) if len(known) else float("nan")
        rows.append((session, int(covers.sum()), len(np.unique(provider[covers])), p95))
    return pd.DataFrame(rows, columns=["date", "payloads", "providers", "p95_latency_ms"])
