"""Validation: what a vendor's bars are worth, session by session, and whether the batch may be stored."""

from market_data.validation.batch import BatchContext, BatchVerdict, Thresholds, validate
from market_data.validation.frames import FINDING_COLUMNS
from market_data.validation.rules import RULES, Rule
from market_data.validation.score import batch_score, session_score

__all__ = [
    "FINDING_COLUMNS",
    "RULES",
    "BatchContext",
    "BatchVerdict",
    "Rule",
    "Thresholds",
    "batch_score",
    "session_score",
    "validate",
]
