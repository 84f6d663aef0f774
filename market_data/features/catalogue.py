"""Every feature by name: what it is, its unit, and how many sessions it looks back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["ANNUAL", "BY_NAME", "FEATURES", "MAX_LOOKBACK", "SMOOTHING_WINDOW", "Feature"]

ANNUAL = 252
"""Sessions a year, by which volatilities are annualised."""

SMOOTHING_WINDOW = 150
"""Sessions that RSI, ATR and MACD are smoothed over: what a longer history would add weighs under 1e-4."""

HORIZONS = (1, 5, 21, 63, 252)
RANKED = ("log_return_1", "log_return_21", "momentum_12_1", "volatility_close_21")


@dataclass(frozen=True, slots=True)
class Feature:
    """A column of `features_daily`.

    Attributes:
        name: the column.
        meaning: what it is, in a sentence.
        unit: as in "log return", "1 a year", "dollars", "rank 0 to 1".
        lookback: number of sessions it is made from, the session itself included: it depends on these and on no other.
        cross_sectional: whether it depends on the other instruments of its session as well.
        endpoints: for a feature that needs of its own instrument only the bars so many sessions back; empty for one
            that needs every bar of its lookback. The bar of the session itself is always needed.
        volume: whether it needs the volumes of its lookback as well.
        base: the feature whose standing among the instruments it is, where it is one.
    """

    name: str
    meaning: str
    unit: str
    lookback: int
    cross_sectional: bool = False
    endpoints: tuple[int, ...] = ()
    volume: bool = False
    base: str | None = None


def _returns() -> Iterator[Feature]:
    for kind, meaning in (
        ("log", "Natural logarithm of the total-return close over that of"),
        ("simple", "Total-return close over that of"),
    ):
        less = "" if kind == "log" else ", less 1"
        for horizon in HORIZONS:
            back = "the session before" if horizon == 1 else f"{horizon} sessions before"
            yield Feature(
                f"{kind}_return_{horizon}",
                f"{meaning} {back}{less}.",
                f"{kind} return",
                horizon + 1,
                endpoints=(horizon,),
            )


def _volatilities() -> Iterator[Feature]:
    unit = "log return a year"
    yield Feature("volatility_close_21", "Standard deviation of the last 21 daily log returns, annualised.", unit, 22)
    yield Feature("volatility_close_63", "Standard deviation of the last 63 daily log returns, annualised.", unit, 64)
    yield Feature("volatility_parkinson_21", "Parkinson's volatility from 21 highs and lows, annualised.", unit, 21)
    yield Feature(
        "volatility_garman_klass_21", "Garman and Klass's volatility from 21 whole bars, annualised.", unit, 21
    )
    yield Feature(
        "volatility_yang_zhang_21",
        "Yang and Zhang's volatility from 21 nights and 21 sessions, annualised.",
        unit,
        22,
    )


def _technical() -> Iterator[Feature]:
    window = SMOOTHING_WINDOW
    dollars = "dollars a share, as traded at the session"
    yield Feature("atr_14", "Average true range by Wilder's smoothing of 14.", dollars, window)
    yield Feature("atr_14_share", "Average true range as a share of the close.", "share of close", window)
    yield Feature("rsi_14", "Wilder's relative strength index of 14.", "0 to 100", window)
    yield Feature("macd", "Exponential average of 12 closes less that of 26.", dollars, window)
    yield Feature("macd_signal", "Exponential average of 9 of the MACD line.", dollars, window)
    yield Feature("macd_histogram", "MACD line less its signal.", dollars, window)
    yield Feature(
        "bollinger_z_20", "Close less the mean of 20 closes, in their standard deviations.", "standard deviations", 20
    )
    yield Feature(
        "momentum_12_1",
        "Return from 252 to 21 sessions before: a year without its last month.",
        "simple return",
        253,
        endpoints=(21, 252),
    )
    yield Feature("drawdown_252", "Close over the highest close of 252 sessions, less 1.", "simple return", 252)


def _liquidity() -> Iterator[Feature]:
    yield Feature("dollar_volume", "Close times volume, both as traded.", "dollars", 1, volume=True)
    yield Feature("dollar_volume_21", "Mean dollar volume of 21 sessions.", "dollars a session", 21, volume=True)
    yield Feature(
        "amihud_21",
        "Amihud's illiquidity: mean of absolute return over dollar volume, 21 sessions.",
        "simple return a million dollars",
        22,
        volume=True,
    )
    yield Feature(
        "turnover_rank",
        "Rank of dollar_volume_21 among the instruments; shares outstanding are not in the store.",
        "rank 0 to 1",
        21,
        cross_sectional=True,
        volume=True,
        base="dollar_volume_21",
    )


def _market() -> Iterator[Feature]:
    yield Feature(
        "market_return_1",
        "Equal-weight mean of the simple returns of all instruments that have one.",
        "simple return",
        2,
        cross_sectional=True,
        endpoints=(0,),
    )
    yield Feature(
        "beta_252",
        "Slope of 252 daily simple returns on those of the equal-weight market.",
        "1",
        253,
        cross_sectional=True,
    )


def _standings(features: tuple[Feature, ...]) -> Iterator[Feature]:
    known = {feature.name: feature for feature in features}
    for name in RANKED:
        base = known[name]
        yield Feature(
            f"{name}_z",
            f"{name} less its mean over the instruments, in their standard deviations.",
            "standard deviations",
            base.lookback,
            cross_sectional=True,
            endpoints=base.endpoints,
            base=name,
        )
        yield Feature(
            f"{name}_rank",
            f"Rank of {name} among the instruments: 0 the lowest, 1 the highest.",
            "rank 0 to 1",
            base.lookback,
            cross_sectional=True,
            endpoints=base.endpoints,
            base=name,
        )


def _catalogue() -> tuple[Feature, ...]:
    own = (*_returns(), *_volatilities(), *_technical(), *_liquidity(), *_market())
    return (*own, *_standings(own))


FEATURES: tuple[Feature, ...] = _catalogue()
"""All of them, in the order of the table's columns."""

BY_NAME: dict[str, Feature] = {feature.name: feature for feature in FEATURES}

MAX_LOOKBACK: int = max(feature.lookback for feature in FEATURES)
"""The longest lookback of all."""
