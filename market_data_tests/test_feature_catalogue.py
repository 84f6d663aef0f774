"""The catalogue of features: what is computed, and what the documentation says of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from market_data.features.catalogue import BY_NAME, FEATURES, MAX_LOOKBACK
from market_data.features.compute import compute
from market_data_tests.feature_panels import random_panel

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "features.md"


def test_the_document_tells_every_feature_as_it_is():
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    told = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines if line.startswith("| `")]
    expected = [
        (f"`{feature.name}`", feature.meaning, feature.unit, str(feature.lookback), "yes" * feature.cross_sectional)
        for feature in FEATURES
    ]
    assert [row for row in told if len(row) == 5] == expected


def test_names_are_unique_and_what_is_computed_has_them_in_their_order():
    assert len(BY_NAME) == len(FEATURES)
    assert list(compute(random_panel(3, 2)).values) == list(BY_NAME)


def test_the_longest_lookback_is_a_year_of_returns():
    assert MAX_LOOKBACK == 253


def test_every_feature_has_values_from_its_lookback_on_and_none_before():
    panel = random_panel(MAX_LOOKBACK, 3)
    for name, values in compute(panel).values.items():
        known = ~np.isnan(values).any(axis=1)
        assert known.tolist() == [row + 1 >= BY_NAME[name].lookback for row in range(MAX_LOOKBACK)], name


def test_what_ranks_a_feature_looks_back_as_far_as_that_feature():
    for feature in FEATURES:
        if feature.base:
            base = BY_NAME[feature.base]
            assert (feature.lookback, feature.endpoints, feature.volume) == (base.lookback, base.endpoints, base.volume)
            assert feature.cross_sectional
