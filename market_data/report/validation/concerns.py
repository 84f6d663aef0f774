"""What of a report needs a person: a blocking check that fails, or a mean score under the least that is accepted."""

from __future__ import annotations

from market_data.report.validation.document import ReportDocument

__all__ = ["concerns"]


def concerns(document: ReportDocument, *, least_score: float) -> tuple[str, ...]:
    """Each as a sentence without a full stop; none where all is well, or nothing is expected of the span.

    Args:
        least_score: `min_data_quality` of the settings.
    """
    found = [
        f"the blocking check {check.name} fails: {check.summary}"
        for check in document.checks
        if check.blocking and not check.passed
    ]
    score = document.headline.mean_score
    if score is not None and score < least_score:
        found.append(f"the mean score is {score:.4f}, under {least_score:g} (MARKET_DATA_MIN_DATA_QUALITY)")
    return tuple(found)
