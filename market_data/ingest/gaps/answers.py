"""Who may be asked to fill a gap, why nobody may, and the fingerprint of everything such an answer depends on."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.errors import SettingsError
from market_data.ingest.sources import Source, is_synthetic, vendor_catalogue
from market_data.instruments import Instrument, Universe
from market_data.providers.base import Provider, sha256_hex
from market_data.providers.catalogue import keys_from_environment
from market_data.providers.config import ProviderConfig
from market_data.sessions import last_completed_session
from market_data.settings import Settings

__all__ = ["HELD", "Askable", "askables", "fingerprints", "may_answer", "why_nobody"]

HELD = 1 << 60
"""The bit that stands for a stored answer which was not read for a gap yet."""

_ARCHIVE = "stooq_bulk"
_ANYWHERE = "http://127.0.0.1"


@dataclass(frozen=True, slots=True)
class Askable:
    """A provider as far as gaps are concerned.

    Attributes:
        reach: the earliest date it serves; None for any.
        unusable: why it can't be asked at all, such as a missing key.
        unserved: symbols it does not have.
    """

    name: str
    reach: date | None = None
    unusable: str | None = None
    unserved: frozenset[str] = frozenset()


def askables(source: Source, universe: Universe, now: datetime) -> list[Askable]:
    """The providers of an opened source, by priority."""
    if not source.arms:
        return [Askable(source.name, unserved=frozenset(source.lacking))]
    last = last_completed_session(now)
    return [
        Askable(
            arm.config.name,
            arm.config.first_reachable(last),
            arm.unusable,
            frozenset(
                symbol
                for symbol, each in universe.items()
                if arm.provider is not None and not arm.provider.serves(each)
            ),
        )
        for arm in source.arms
    ]


def may_answer(answers: pd.DataFrame, providers: Sequence[Askable]) -> npt.NDArray[np.int64]:
    """Mask of the providers that may fill each gap and were not asked for it; quotas and closures pass and don't count.

    What no answer was judged for is asked of anyone, and read from a stored answer first: bit `HELD`.

    Args:
        answers: as `answers_for_gaps` gives it.
        providers: the n-th one is bit n.
    """
    mask = np.zeros(len(answers), dtype=np.int64)
    unjudged = answers["kind"].to_numpy() == "unanswered"
    answered = answers["answered"].to_numpy(dtype=np.int64)
    for bit, provider in enumerate(providers):
        can = ~_beyond(answers, provider) & ~_unserved(answers, provider) & (provider.unusable is None)
        can &= unjudged | ((answered >> bit) & 1 == 0)
        mask |= np.where(can, np.int64(1) << bit, np.int64(0))
    return mask | np.where(unjudged & (answered != 0), np.int64(HELD), np.int64(0))


def why_nobody(answers: pd.DataFrame, providers: Sequence[Askable]) -> list[str]:
    """For gaps that nobody may fill, why not, one text each: who answered, who can't be asked and why."""
    beyond, unserved = np.zeros((2, len(answers)), dtype=np.int64)
    for bit, provider in enumerate(providers):
        beyond |= np.where(_beyond(answers, provider), np.int64(1) << bit, np.int64(0))
        unserved |= np.where(_unserved(answers, provider), np.int64(1) << bit, np.int64(0))
    told: dict[tuple[int, int, int, int], str] = {}
    texts = []
    for masks in zip(
        answers["answered"].tolist(), answers["refused"].tolist(), beyond.tolist(), unserved.tolist(), strict=True
    ):
        if masks not in told:
            told[masks] = _told(providers, *masks)
        texts.append(told[masks])
    return texts


def _told(providers: Sequence[Askable], answered: int, refused: int, beyond: int, unserved: int) -> str:
    cannot, refusals, empty = [], [], []
    for bit, provider in enumerate(providers):
        place = 1 << bit
        if refused & place:
            refusals.append(provider.name)
        elif answered & place:
            empty.append(provider.name)
        elif provider.unusable is not None:
            cannot.append(provider.unusable)
        elif unserved & place:
            cannot.append(f"{provider.name} does not have it")
        elif beyond & place:
            cannot.append(f"{provider.name}: reaches back to {provider.reach}")
    if empty:
        cannot.append(f"{', '.join(empty)} answered without a usable bar")
    if refusals:
        cannot.append(f"what {', '.join(refusals)} sent was refused")
    return "; ".join(cannot)


def fingerprints(
    settings: Settings, universe: Universe, source_name: str, *, with_key: Collection[str] | None = None
) -> dict[str, str]:
    """What the answers for each symbol depend on, as two hashes with a dash between.

    The first one is of the instrument and the archive: with another, earlier answers say nothing. The second one is
    of the vendors in use, their plans and reach, and whether their keys are there, never of a key itself.

    Args:
        with_key: vendors whose keys are known; by default those whose variables are set.

    Raises:
        SettingsError: the providers file cannot be used, or the source lacks its setting.
    """
    if source_name == _ARCHIVE:
        if settings.archive is None:
            raise SettingsError("stooq_bulk needs an archive; set MARKET_DATA_ARCHIVE")
        archive, vendors = _archive_identity(settings.archive), ""
    else:
        archive, vendors = "", _vendors_identity(settings, source_name, with_key)
    second = sha256_hex(f"{source_name}{vendors}".encode())[:16]
    return {
        symbol: f"{sha256_hex((_identity(instrument) + archive).encode())[:16]}-{second}"
        for symbol, instrument in universe.items()
    }


def _not_served(provider: Provider | None, universe: Universe) -> frozenset[str]:
    if provider is None:
        return frozenset()
    return frozenset(symbol for symbol, instrument in universe.items() if not provider.serves(instrument))


def _identity(instrument: Instrument) -> str:
    named = instrument.previous_symbols, sorted(instrument.tickers.items())
    span = instrument.listed_from, instrument.listed_by, instrument.delisted_on
    return repr((instrument.symbol, instrument.name, instrument.exchange, *span, *named))


def _vendors_identity(settings: Settings, source_name: str, with_key: Collection[str] | None) -> str:
    synthetic = is_synthetic(source_name)
    # Where a sandbox listens is another place each time.
    catalogue = vendor_catalogue(settings, sandbox_url=_ANYWHERE if synthetic else None)
    if source_name in catalogue:
        catalogue = {source_name: catalogue[source_name]}
    if with_key is None:
        with_key = catalogue if synthetic else keys_from_environment(catalogue, os.environ)
    told = [_vendor_identity(config, name in with_key) for name, config in catalogue.items()]
    return json.dumps([*told, settings.sandbox_seed if synthetic else None])


def _vendor_identity(config: ProviderConfig, has_key: bool) -> list[object]:
    reach = config.reach_days, config.reach_sessions
    usable = has_key or not config.needs_key
    named = config.base_url, str(config.basis), config.point_in_time_tickers
    return [config.name, config.tier, *reach, *named, usable, has_key]


def _archive_identity(archive: Path) -> str:
    """Path, size and time of the archive, of a folder those of all its files together."""
    try:
        status = archive.stat()
        if not archive.is_dir():
            return repr((str(archive.resolve()), status.st_size, status.st_mtime_ns))
        files = size = newest = 0
        for base, _, names in os.walk(archive):
            for name in names:
                status = Path(base, name).stat()
                files, size, newest = files + 1, size + status.st_size, max(newest, status.st_mtime_ns)
    except OSError as error:
        raise SettingsError(f"MARKET_DATA_ARCHIVE: {archive} cannot be read: {error.strerror}") from None
    return repr((str(archive.resolve()), files, size, newest))


def _beyond(answers: pd.DataFrame, provider: Askable) -> npt.NDArray[np.bool_]:
    if provider.reach is None:
        return np.zeros(len(answers), dtype=bool)
    return np.asarray(answers["date"].to_numpy() < np.datetime64(provider.reach))


def _unserved(answers: pd.DataFrame, provider: Askable) -> npt.NDArray[np.bool_]:
    return np.asarray(answers["symbol"].isin(list(provider.unserved)).to_numpy(), dtype=bool)
