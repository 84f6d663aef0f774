"""Prices between the bases raw, split-adjusted and total-return: the only place that turns one into another.

For a bar of date t, as of a date A (every action known, where none is given):

    S_t  = product of the values of splits and spin-offs with t < ex-date <= A
    SV_t = the same over splits only
    T_t  = product of f_e = 1 - D_e * r_e / P_prev over dividends with t < e <= A

    split-adjusted price = raw / S_t                total-return price = raw / S_t * T_t
    split-adjusted volume = raw * SV_t, and so it is beside total-return prices

P_prev is the raw close of the last bar before ex-date e that has a positive one; r_e the product of splits and
spin-offs after that bar up to and including e, as a dividend is declared on the share count of its ex-date. Dividends
without a close between them count as one, of their sum. This is the method of CRSP, Yahoo
(https://help.yahoo.com/kb/SLN28256.html) and QuantConnect's factor files.

Actions are a `CorporateActions` frame in any order. Dividends of one date add up; two splits, or two spin-offs, on one
date are refused, since a repeated row is likelier than two of them. Actions after A are not even looked at.

What vendors do, measured on recorded files (`python -m market_data_tests.comparisons` prints the figures):

Yahoo's `adjclose` is T_t with the split-adjusted close and dividends, to 32-bit floats. QuantConnect's factor files
hold T_t to 7 decimals. Stooq's prices are raw / S_t * T_t with the same f_e (AAPL's dividend of 2026-02-09: 0.999065
= 1 - 0.26 / 278.12), to 6 significant digits; its volumes are raw * SV_t / T_t, so that price times volume keeps.
It applies a dividend to the stored prices in place, and rounds them again each time; and it applies dividends late or
never: of 17 archive files of 2026-02-20 seven show none since 2022. `dividends_applied_until` tells.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.errors import MarketDataError
from market_data.records import Basis

__all__ = [
    "TICK",
    "AdjustmentError",
    "Converted",
    "adjust",
    "declared_dividends",
    "dividend_factors",
    "dividends_applied_until",
    "split_factors",
    "to_raw",
    "to_tick",
]

TICK = 0.0001
"""Smallest step of a recovered price, dollars: that of quotes below a dollar (SEC rule 612)."""

_CENT = 0.01
_PRICES = ("open", "high", "low", "close", "vwap")
_KINDS = ("split", "spinoff", "dividend")
_MOST_DECIMALS = 10
_FLOAT_ERROR = 1e-12
"""Relative error that sums up in 64-bit floats over some dozens of factors, with room to spare."""
_REACH = np.timedelta64(10, "D")
"""How far after the last bar an ex-date may be for its close to be the one before: XNYS was never closed longer since
1933, where a window that ends early gives another close."""

_FEWEST_CLOSES, _SHARE_IN_CENTS = 5, 0.9

Floats = npt.NDArray[np.float64]
_Days = npt.NDArray[np.datetime64]


class AdjustmentError(MarketDataError):
    """Corporate actions or bars do not give a factor; nothing was converted."""


@dataclass(frozen=True, slots=True)
class Converted:
    """Raw bars, and what was applied to get them.

    Attributes:
        bars: raw prices to the tick and raw volumes; columns, dtypes and index as given.
        price_factor: shape (n,); raw = sent * price_factor, before rounding to the tick.
        volume_factor: shape (n,); raw volume = sent volume * volume_factor, before rounding to whole shares.
    """

    bars: pd.DataFrame
    price_factor: Floats
    volume_factor: Floats


def split_factors(
    dates: npt.ArrayLike,
    actions: pd.DataFrame,
    *,
    as_of: date | None = None,
    kinds: Collection[str] = ("split", "spinoff"),
) -> Floats:
    """S_t of each date, shape (n,): raw price = split-adjusted price * S_t.

    Args:
        dates: ascending, datetime64.
        as_of: last ex-date that counts; None for all.
        kinds: ("split",) gives SV_t, the factor of volumes.

    Raises:
        AdjustmentError: dates that do not ascend; an action without a date, of an unknown kind, or with a value that
            is not a positive number; two splits or two spin-offs on one date.
    """
    return _ratios_after(_ascending(dates), _known(actions, as_of), kinds)


def dividend_factors(
    dates: npt.ArrayLike, closes: npt.ArrayLike, actions: pd.DataFrame, *, as_of: date | None = None
) -> Floats:
    """T_t of each date, shape (n,): total-return price = split-adjusted price * T_t.

    NaN where a dividend follows and no close before it is known.

    Args:
        dates: ascending, datetime64.
        closes: raw closes, dollars a share, shape (n,). NaN, zero and negative ones are passed over.
        as_of: last ex-date that counts; None for all.

    Raises:
        AdjustmentError: as for `split_factors`; a dividend not below the close before it; an ex-date more than 10
            days after the last bar, whose close before is not among the bars.
    """
    days, known = _ascending(dates), _known(actions, as_of)
    return _dividend_factors(days, np.asarray(closes, dtype=np.float64), known, as_sent=False)


def adjust(bars: pd.DataFrame, actions: pd.DataFrame, basis: Basis, *, as_of: date | None = None) -> pd.DataFrame:
    """Raw bars in another basis, not rounded; RAW returns them as they are.

    Prices, vwap among them, turn with the basis; volumes with splits alone; trade counts not at all.

    Args:
        bars: raw, a `RawBars` or `DailyPrices` frame.
        as_of: last ex-date that counts; None for all.

    Raises:
        AdjustmentError: as for `dividend_factors`.
    """
    if basis is Basis.RAW:
        return bars
    days, known = _ascending(bars["date"]), _known(actions, as_of)
    price = 1 / _ratios_after(days, known, ("split", "spinoff"))
    if basis is Basis.SPLIT_DIVIDEND:
        price *= _dividend_factors(days, _numbers(bars, "close"), known, as_sent=False)
    volume = _ratios_after(days, known, ("split",))
    columns = {name: _numbers(bars, name) * price for name in _PRICES if name in bars}
    return _with(bars, columns | {"volume": _numbers(bars, "volume") * volume})


def to_raw(
    bars: pd.DataFrame,
    actions: pd.DataFrame,
    basis: Basis,
    *,
    as_of: date,
    volume_basis: Basis,
    spinoffs_move_volume: bool = False,
    dividends_as_of: date | None = None,
) -> Converted:
    """Bars as a vendor sent them, turned to raw: the inverse of `adjust`, exact to the tick.

    With dividends, from the last ex-date back: the bar p before ex-date e was sent as
    a_p = raw_p / S_p * F * (1 - D * r / raw_p), where F is the factor of the dividends after e. Hence
    raw_p = a_p * S_p / F + D * r, from which follows the factor of e, and F for the dividend before.

    Prices are rounded by `to_tick`. Its error is half a unit of the last digit as sent, times the factor, and once
    more for each dividend, since Stooq rounds at each. The last digit is told from all prices that were adjusted:
    vendors round to decimals or to significant digits, and the coarser of the two that these show is the vendor's.
    A price whose factor is 1 stays as it was sent.

    Volumes become whole shares where every volume was sent whole, else where one comes within the error of a whole
    number of shares; a volume with a true fraction keeps it.

    Args:
        bars: a `RawBars` frame that reaches up to the last ex-date; a window is cut out after conversion, not before.
        basis: what the prices were adjusted for.
        as_of: last ex-date the vendor had applied.
        dividends_as_of: the same for dividends, where a vendor applies them later than splits.
        volume_basis: what the volumes were adjusted for; SPLIT_DIVIDEND for volumes divided by T_t, as Stooq's are.
        spinoffs_move_volume: whether the vendor took spin-offs for splits of the volume too, as Yahoo does.

    Raises:
        AdjustmentError: as for `dividend_factors`; volumes adjusted for dividends beside prices that are not.
    """
    if volume_basis is Basis.SPLIT_DIVIDEND and basis is not Basis.SPLIT_DIVIDEND:
        raise AdjustmentError(f"volumes of basis {volume_basis} need prices of that basis, not {basis}")
    days, known = _ascending(bars["date"]), _known(actions, as_of, dividends_as_of)
    splits = _ratios_after(days, known, ("split", "spinoff"))
    dividends, roundings = np.ones(len(days)), np.ones(len(days))
    if basis is Basis.SPLIT_DIVIDEND:
        dividends = _dividend_factors(days, _numbers(bars, "close"), known, as_sent=True)
        paid = known.dates["dividend"]
        roundings += len(paid) - np.searchsorted(paid, days, side="right")
    price = np.ones(len(days)) if basis is Basis.RAW else splits / dividends
    volume = np.ones(len(days))
    if volume_basis is not Basis.RAW:
        volume /= splits if spinoffs_move_volume else _ratios_after(days, known, ("split",))
    if volume_basis is Basis.SPLIT_DIVIDEND:
        volume *= dividends
    return Converted(_recovered(bars, price, volume, roundings), price, volume)


def dividends_applied_until(bars: pd.DataFrame, actions: pd.DataFrame, *, as_of: date) -> date:
    """The date up to which a vendor had applied dividends to its prices; `as_of` where it had applied all.

    US shares close in whole cents since 2001. Stooq's closes before a dividend it has applied are no longer in cents;
    between two it has not applied they are. So from the last ex-date back: as long as 9 in 10 of the closes between
    two dividends are in cents, after splits are undone, neither they nor anything later is adjusted.

    Closes that 6 significant digits do not show to the cent do not count; fewer than 5 between two dividends tell
    nothing. An answer before the first ex-date means that no dividend was applied at all.

    Args:
        bars: as sent, adjusted for the splits up to `as_of` and for dividends as far as the vendor got.

    Raises:
        AdjustmentError: as for `split_factors`.
    """
    days, known = _ascending(bars["date"]), _known(actions, as_of)
    closes, splits = _numbers(bars, "close"), _ratios_after(days, known, ("split", "spinoff"))
    shows = closes > 0
    raw = closes[shows] * splits[shows]
    error = 0.5 * 10.0 ** (np.floor(np.log10(closes[shows])) - 5) * splits[shows]
    in_cents = np.abs(raw - np.rint(raw / _CENT) / 100) <= error
    shows[shows] = error < _CENT / 5
    in_cents, days = in_cents[error < _CENT / 5], days[shows]
    until = as_of
    edges = np.concatenate([[0], np.searchsorted(days, known.dates["dividend"], side="left")])
    for ex_date, start, stop in reversed(list(zip(known.dates["dividend"], edges, edges[1:], strict=False))):
        if stop - start < _FEWEST_CLOSES:
            continue
        if in_cents[start:stop].mean() < _SHARE_IN_CENTS:
            break
        until = ex_date.astype("datetime64[D]").item() - timedelta(days=1)
    return until


def declared_dividends(actions: pd.DataFrame, *, as_of: date) -> pd.DataFrame:
    """Split-adjusted dividends, as Yahoo sends them, as they were declared; splits and spin-offs are left as they are.

    declared = sent * product of splits and spin-offs with ex-date in (e, as_of], to the fewest decimals, 2 to 6, that
    the last digit as sent allows: 0.108929, split 7 and 4 for 1 since, was 3.05.

    Raises:
        AdjustmentError: as for `split_factors`.
    """
    known = _known(actions, as_of)
    is_dividend = actions["kind"].to_numpy(dtype=object) == "dividend"
    sent = actions["value"].to_numpy(dtype=np.float64)
    days = actions["date"].to_numpy()
    order = np.argsort(days, kind="stable")
    factor = np.ones(len(sent))
    factor[order] = _ratios_after(days[order], known, ("split", "spinoff"))
    moved = is_dividend & (factor != 1)
    declared = sent.copy()
    declared[moved] = _fewest_decimals(sent[moved] * factor[moved], _last_digit_error(sent[moved]) * factor[moved])
    return _with(actions, {"value": declared})


def to_tick(prices: npt.ArrayLike, *, error: npt.ArrayLike) -> Floats:
    """The nearest cent where one is within `error`, else the nearest `TICK`; NaN stays.

    Args:
        prices: dollars a share, any shape.
        error: how far a price may be off, dollars; a scalar or of that shape.
    """
    values = np.asarray(prices, dtype=np.float64)
    cents = np.rint(values / _CENT) / 100
    slack = np.abs(values) * _FLOAT_ERROR
    return np.where(np.abs(values - cents) <= np.asarray(error) + slack, cents, np.rint(values / TICK) / 10_000)


@dataclass(frozen=True, slots=True)
class _Known:
    """Checked actions by kind: ex-dates ascending and distinct, and their values."""

    dates: Mapping[str, _Days]
    values: Mapping[str, Floats]

    def ratios(self, kinds: Collection[str]) -> tuple[_Days, Floats]:
        """Ex-dates, ascending, and values of several kinds together."""
        dates = np.concatenate([self.dates[kind] for kind in kinds])
        order = np.argsort(dates, kind="stable")
        return dates[order], np.concatenate([self.values[kind] for kind in kinds])[order]


def _known(actions: pd.DataFrame, as_of: date | None, dividends_as_of: date | None = None) -> _Known:
    dates = actions["date"].to_numpy().astype("datetime64[s]")
    kinds = actions["kind"].to_numpy(dtype=object)
    values = actions["value"].to_numpy(dtype=np.float64)
    if as_of is not None:
        keep = ~(dates > np.datetime64(as_of, "s"))
        if dividends_as_of is not None:
            keep &= (kinds != "dividend") | ~(dates > np.datetime64(dividends_as_of, "s"))
        dates, kinds, values = dates[keep], kinds[keep], values[keep]
    _require_usable(dates, kinds, values)
    order = np.argsort(dates, kind="stable")
    dates, kinds, values = dates[order], kinds[order], values[order]
    of_kind = {kind: kinds == kind for kind in _KINDS}
    for kind in ("split", "spinoff"):
        _require_single(kind, dates[of_kind[kind]])
    days, amounts = _summed(dates[of_kind["dividend"]], values[of_kind["dividend"]])
    return _Known(
        {kind: dates[mask] for kind, mask in of_kind.items()} | {"dividend": days},
        {kind: values[mask] for kind, mask in of_kind.items()} | {"dividend": amounts},
    )


def _require_usable(dates: _Days, kinds: npt.NDArray[np.object_], values: Floats) -> None:
    bad = np.isnat(dates) | ~np.isfinite(values) | (values <= 0) | ~np.isin(kinds.astype(str), _KINDS)
    if bad.any():
        place = int(np.argmax(bad))
        raise AdjustmentError(
            f"corporate action {kinds[place]!r} of {_day(dates[place])} has value {values[place]}: an action needs a "
            f"date, a kind of {', '.join(_KINDS)} and a finite value above 0; correct or remove it"
        )


def _require_single(kind: str, dates: _Days) -> None:
    repeated = dates[1:][dates[1:] == dates[:-1]]
    if len(repeated):
        raise AdjustmentError(f"more than one {kind} on {_day(repeated[0])}; keep one, with the product as its value")


def _summed(dates: _Days, values: Floats) -> tuple[_Days, Floats]:
    days, place = np.unique(dates, return_inverse=True)
    return days, np.bincount(place, weights=values, minlength=len(days)).astype(np.float64)


def _ratios_after(days: _Days, known: _Known, kinds: Collection[str]) -> Floats:
    dates, values = known.ratios(kinds)
    from_there_on = np.append(np.cumprod(values[::-1])[::-1], 1.0)
    return from_there_on[np.searchsorted(dates, days, side="right")]


def _dividend_factors(days: _Days, closes: Floats, known: _Known, *, as_sent: bool) -> Floats:
    """T_t from raw closes, or from total-return closes as `to_raw` explains."""
    dates, amounts = known.dates["dividend"], known.values["dividend"]
    valued = np.flatnonzero(closes > 0)
    before = np.searchsorted(days[valued], dates, side="left") - 1
    has_bars = np.searchsorted(days, dates, side="left") > 0
    from_there_on = np.ones(len(dates) + 1)
    if has_bars.any():
        _require_reach(days[-1], dates)
        splits = _ratios_after(days, known, ("split", "spinoff"))
        since = _ratios_after(dates, known, ("split", "spinoff"))
        errors = _last_digit_error(closes) * splits if as_sent else closes
        factor, stop = 1.0, len(dates)
        while stop and before[stop - 1] >= 0:
            start = int(np.searchsorted(before, before[stop - 1], side="left"))
            bar = valued[before[stop - 1]]
            owed = np.cumsum((amounts[start:stop] * splits[bar] / since[start:stop])[::-1])[::-1]
            close = closes[bar]
            if as_sent:  # The exact close takes away the sent one's rounding, which volumes in the millions would show.
                close = float(to_tick(close * splits[bar] / factor + owed[0], error=errors[bar] / factor))
            _require_below(owed[0], close, dates[start], days[bar])
            if as_sent:
                _require_plausible(owed[0], close, dates[start])
            from_there_on[start:stop] = factor * (1 - owed / close)
            factor, stop = float(from_there_on[start]), start
        from_there_on[:stop][has_bars[:stop]] = np.nan
    return from_there_on[np.searchsorted(dates, days, side="right")]


def _require_reach(last: np.datetime64, dates: _Days) -> None:
    beyond = dates[dates > last + _REACH]
    if len(beyond):
        raise AdjustmentError(
            f"the bars end on {_day(last)}, and the close before the dividend of {_day(beyond[0])} is not among them; "
            "give bars up to it, or an earlier as_of"
        )


def _require_below(owed: float, close: float, ex_date: np.datetime64, day: np.datetime64) -> None:
    if not owed < close:
        raise AdjustmentError(
            f"the dividend of {_day(ex_date)}, {owed:g} a share, is not below the close before it, {close:g} on "
            f"{_day(day)}; correct whichever is wrong"
        )


def _require_plausible(owed: float, close: float, ex_date: np.datetime64) -> None:
    """Refuse a dividend of half the close it gives: closes as sent cannot contradict one, however wrong it is."""
    if owed > close / 2:
        raise AdjustmentError(
            f"the dividend of {_day(ex_date)}, {owed:g} a share, is more than half of the close before it that "
            f"follows, {close:g}: too large to be undone without a raw price to compare with; correct it if it is wrong"
        )


def _recovered(bars: pd.DataFrame, price: Floats, volume: Floats, roundings: Floats) -> pd.DataFrame:
    names = [name for name in _PRICES if name in bars]
    raw = np.column_stack([_numbers(bars, name) for name in names])
    moved = price != 1
    sent, factors = raw[moved], price[moved, np.newaxis]
    raw[moved] = to_tick(sent * factors, error=_last_digit_error(sent) * factors * roundings[moved, np.newaxis])
    shares = _numbers(bars, "volume")
    whole = np.rint(shares * volume)
    within = np.abs(shares * volume - whole) <= _last_digit_error(shares) * volume + np.abs(whole) * _FLOAT_ERROR
    if (np.isnan(shares) | (shares == np.rint(shares))).all():
        within[:] = True
    traded = np.where((volume == 1) | ~within, shares * volume, whole)
    return _with(bars, {name: raw[:, place] for place, name in enumerate(names)} | {"volume": traded})


def _last_digit_error(values: Floats) -> Floats:
    """Half a unit of the last digit that the values were rounded to, be it a decimal or a significant digit.

    Where a vendor rounds to decimals, significant digits counted over all values give a finer unit than the true one,
    and the other way round: so the coarser unit of both is the vendor's.
    """
    sizes = np.abs(values)
    usable = np.isfinite(values) & (sizes > 0)
    if not usable.any():
        return np.zeros(values.shape)
    magnitude = np.zeros(values.shape)
    magnitude[usable] = np.floor(np.log10(sizes[usable]))
    decimals = _decimals(sizes[usable])
    finest = 10.0 ** -decimals.max()
    significant = 10.0 ** (magnitude - (decimals + magnitude[usable]).max())
    return np.asarray(0.5 * np.maximum(finest, significant))


def _decimals(values: Floats) -> Floats:
    """Decimals that each value has, at most 10."""
    decimals = np.full(values.shape, float(_MOST_DECIMALS))
    rest = np.arange(len(values))
    for count in range(_MOST_DECIMALS):
        is_exact = np.round(values[rest], count) == values[rest]
        decimals[rest[is_exact]] = count
        rest = rest[~is_exact]
    return decimals


def _fewest_decimals(values: Floats, error: Floats) -> Floats:
    rounded = values.copy()
    for count in range(6, 1, -1):
        candidate = np.round(values, count)
        rounded = np.where(np.abs(candidate - values) <= error + values * _FLOAT_ERROR, candidate, rounded)
    return rounded


def _ascending(dates: npt.ArrayLike) -> _Days:
    days = np.asarray(dates).astype("datetime64[s]")
    if np.isnat(days).any() or (days[1:] < days[:-1]).any():
        raise AdjustmentError("the bars' dates do not ascend, or one is missing; sort them by date")
    return days


def _numbers(bars: pd.DataFrame, name: str) -> Floats:
    return bars[name].to_numpy(dtype=np.float64)


def _with(frame: pd.DataFrame, columns: Mapping[str, Floats]) -> pd.DataFrame:
    return pd.DataFrame({name: columns.get(str(name), frame[name]) for name in frame.columns}, index=frame.index)


def _day(day: np.datetime64) -> str:
    return str(day.astype("datetime64[D]"))
