"""All features of a panel: a pure function of its bars, without database or clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from market_data.features import cross_section, liquidity, market, returns, technical, volatility
from market_data.features.catalogue import FEATURES, HORIZONS, RANKED
from market_data.features.panel import Floats, Panel
from market_data.features.reasons import reasons_of_nulls
from market_data.features.usable import Bars, PanelError, usable_bars
from market_data.features.windows import window_mean

__all__ = ["Computed", "compute"]


@dataclass(frozen=True, slots=True)
class Computed:
    """Features of the sessions `panel.sessions[first:]`.

    Attributes:
        values: by name, in the order of `FEATURES`; float64 (T - first, N), NaN for null.
        reasons: object (T - first, N): None where no feature is null, else a text in which `reason_for` finds the
            reason of each that is.
    """

    values: dict[str, Floats]
    reasons: npt.NDArray[np.object_]


def compute(panel: Panel, *, first: int = 0) -> Computed:
    """Every feature of the sessions from `first` on; the rows before are the history they look back to.

    A feature of a session is made from its `lookback` last sessions alone, in an order of steps that does not depend on
    how many rows there are: a panel cut to `MAX_LOOKBACK` rows gives the same bits as one of the whole history.

    Args:
        panel: bars, with up to `MAX_LOOKBACK` - 1 rows before `first`; with fewer, features are null as warming up.
        first: index of the first session wanted.

    Raises:
        PanelError: matrices do not fit together, or `first` is no row.
    """
    if not 0 <= first <= len(panel.sessions):
        raise PanelError(f"first is {first}: the panel has rows 0 to {len(panel.sessions) - 1}")
    bars = usable_bars(panel)
    whole = {**_own(bars), **_of_market(bars)}
    own_bar = bars.usable[first:]
    values = {name: np.where(own_bar, value[first:], np.nan) for name, value in whole.items()}
    values["turnover_rank"] = cross_section.rank(values["dollar_volume_21"])
    for name in RANKED:
        values[f"{name}_z"] = cross_section.z_score(values[name])
        values[f"{name}_rank"] = cross_section.rank(values[name])
    ordered = {feature.name: values[feature.name] for feature in FEATURES}
    return Computed(ordered, reasons_of_nulls(panel.sessions, bars, ordered, first=first))


def _own(bars: Bars) -> dict[str, Floats]:
    """Features that an instrument's own bars make."""
    close = bars.close
    line, signal, histogram = technical.macd(bars)
    true_range = technical.average_true_range(bars)
    dollars = liquidity.dollar_volume(bars)
    return {
        **{f"log_return_{horizon}": returns.log_return(close, horizon) for horizon in HORIZONS},
        **{f"simple_return_{horizon}": returns.simple_return(close, horizon) for horizon in HORIZONS},
        "volatility_close_21": volatility.close_to_close(close, 21),
        "volatility_close_63": volatility.close_to_close(close, 63),
        "volatility_parkinson_21": volatility.parkinson(bars, 21),
        "volatility_garman_klass_21": volatility.garman_klass(bars, 21),
        "volatility_yang_zhang_21": volatility.yang_zhang(bars, 21),
        "atr_14": true_range,
        "atr_14_share": true_range / bars.raw_close,
        "rsi_14": technical.relative_strength(close),
        "macd": line,
        "macd_signal": signal,
        "macd_histogram": histogram,
        "bollinger_z_20": technical.bollinger_z(close, 20),
        "momentum_12_1": returns.momentum(close),
        "drawdown_252": returns.drawdown(close, 252),
        "dollar_volume": dollars,
        "dollar_volume_21": window_mean(dollars, 21),
        "amihud_21": liquidity.amihud(bars, 21),
    }


def _of_market(bars: Bars) -> dict[str, Floats]:
    """The market's return, the same for all, and each instrument's slope on it."""
    daily = returns.simple_return(bars.close, 1)
    of_all = market.market_return(daily)
    return {
        "market_return_1": np.broadcast_to(of_all, daily.shape),
        "beta_252": market.beta(daily, of_all, 252),
    }
