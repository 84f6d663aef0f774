"""Where a run's bars come from, opened from its settings: the archive, the vendors, or the synthetic market."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from market_data.clock import Clock, SandboxClock, clock_of, utc_now
from market_data.errors import SettingsError
from market_data.instruments import Universe
from market_data.providers.catalogue import SANDBOX_FILE, keys_from_environment, load_catalogue
from market_data.providers.config import ProviderConfig
from market_data.providers.registry import CLIENTS, open_client
from market_data.providers.stooq_bulk import StooqArchive, StooqBulk
from market_data.selection.choice import GivenOrder, Selector
from market_data.selection.meter import Meter, RateLimiter
from market_data.selection.quota import QuotaLedger
from market_data.selection.vendors import Arm, QuotaAwareSelector
from market_data.settings import Settings

__all__ = ["SOURCES", "Source", "is_synthetic", "ledger_of", "open_source", "vendor_catalogue"]

SOURCES = ("stooq_bulk", "vendors", "sandbox", *CLIENTS)
"""What a run can be told to use: the archive, all vendors, all of them as the sandbox plays them, or one vendor."""

_SANDBOX_KEY = "made-up-key-of-the-sandbox"
_ARCHIVE_READERS = 4


@dataclass(frozen=True, slots=True)
class Source:
    """Opened providers and the selector over them.

    Attributes:
        name: one of `SOURCES`.
        label: what to call it in logs and reports.
        synthetic: whether its data is made up.
        served: symbols of the universe it can serve at all; `all` means these.
        lacking: symbols of the universe it cannot serve.
        concurrency: fetches worth having under way at once.
        url: where it is served from, for a sandbox.
        clock: what time it is for it.
        arms: the vendors, by priority; none for an archive.
    """

    name: str
    label: str
    selector: Selector
    synthetic: bool
    served: list[str]
    lacking: list[str] = field(default_factory=list)
    concurrency: int = 4
    url: str = ""
    arms: tuple[Arm, ...] = ()
    clock: Clock = utc_now


def is_synthetic(name: str) -> bool:
    """Whether a source makes its data up."""
    return name == "sandbox"


def ledger_of(settings: Settings, *, synthetic: bool, clock: Clock = utc_now) -> QuotaLedger:
    """The ledger of calls; the sandbox has one of its own."""
    return QuotaLedger(settings.calls_file(synthetic=synthetic), clock=clock)


def vendor_catalogue(settings: Settings, *, sandbox_url: str | None = None) -> dict[str, ProviderConfig]:
    """What the vendors allow, by priority; with a URL, what the sandbox that plays them allows.

    Raises:
        SettingsError: names file, line and key.
    """
    if sandbox_url is not None:
        return load_catalogue(settings.sandbox_providers or SANDBOX_FILE, base_url=sandbox_url)
    return load_catalogue(settings.providers)


@contextmanager
def open_source(
    name: str,
    settings: Settings,
    universe: Universe,
    *,
    keys: Mapping[str, str] | None = None,
    keep_index: bool = True,
    clock: Clock | None = None,
) -> Iterator[Source]:
    """The source `name`, ready to be asked, closed afterwards.

    Args:
        keys: by vendor; by default from the variables its configuration names.
        keep_index: whether what is learned of an archive's files is kept for the next run.
        clock: by default that of the store, see `clock_of`.

    Raises:
        SettingsError: an unknown source, or one that lacks its setting.
        ArchiveError: the archive can't be used.
    """
    clock = clock or clock_of(settings, synthetic=is_synthetic(name))
    with ExitStack() as stack:
        if name == "stooq_bulk":
            yield _archive(settings, universe, settings.runtime / "archives" if keep_index else None, stack)
        elif name == "sandbox":
            url = _sandbox_url(settings, universe, clock, stack)
            catalogue = vendor_catalogue(settings, sandbox_url=url)
            # A vendor's own key is not sent to the sandbox: its file names no variable unless the user's does.
            made_up = dict.fromkeys(catalogue, _SANDBOX_KEY) | keys_from_environment(catalogue, os.environ)
            yield _vendors(
                name, settings, stack, universe=universe, catalogue=catalogue, keys=made_up, clock=clock, url=url
            )
        elif name == "vendors" or name in CLIENTS:
            catalogue = vendor_catalogue(settings)
            if name != "vendors":
                catalogue = {vendor: config for vendor, config in catalogue.items() if vendor == name}
            given = keys_from_environment(catalogue, os.environ) if keys is None else keys
            yield _vendors(name, settings, stack, universe=universe, catalogue=catalogue, keys=given, clock=clock)
        else:
            raise SettingsError(f"provider {name!r} is unknown; known are {', '.join(SOURCES)}")


def _archive(settings: Settings, universe: Universe, index_folder: Path | None, stack: ExitStack) -> Source:
    if settings.archive is None:
        raise SettingsError("stooq_bulk needs an archive; give --archive PATH or set MARKET_DATA_ARCHIVE")
    provider = StooqBulk(StooqArchive(settings.archive, index_folder=index_folder))
    stack.callback(provider.close)
    served = [symbol for symbol, instrument in universe.items() if provider.serves(instrument)]
    return Source(
        name=provider.name,
        label=f"stooq_bulk ({settings.archive.name})",
        selector=GivenOrder([provider]),
        synthetic=False,
        served=served,
        lacking=[symbol for symbol in universe if symbol not in set(served)],
        concurrency=min(settings.concurrency, _ARCHIVE_READERS),
    )


def _sandbox_url(settings: Settings, universe: Universe, clock: Clock, stack: ExitStack) -> str:
    """Where the sandbox is served: the one that runs, or one of its own, live where it goes by the sandbox's clock."""
    if settings.sandbox_url is not None:
        return settings.sandbox_url.rstrip("/")
    from market_data.sandbox.server import Sandbox

    sandbox = Sandbox(
        universe,
        start=settings.window_start,
        end=settings.window_end,
        seed=settings.sandbox_seed,
        clock=clock if isinstance(clock, SandboxClock) else None,
    )
    return stack.enter_context(sandbox).url


def _vendors(
    name: str,
    settings: Settings,
    stack: ExitStack,
    *,
    universe: Universe,
    catalogue: Mapping[str, ProviderConfig],
    keys: Mapping[str, str],
    clock: Clock,
    url: str = "",
) -> Source:
    synthetic = is_synthetic(name)
    ledger = ledger_of(settings, synthetic=synthetic, clock=clock)
    arms = tuple(
        _arm(config, keys.get(vendor), settings, stack, synthetic=synthetic, clock=clock)
        for vendor, config in catalogue.items()
    )
    usable = [arm for arm in arms if arm.unusable is None]
    if not usable:
        raise SettingsError(f"{name}: no vendor can be asked: {'; '.join(str(arm.unusable) for arm in arms)}")
    together = sum(arm.config.concurrency for arm in usable)
    return Source(
        name=name,
        label="sandbox (synthetic)" if synthetic else ", ".join(arm.config.name for arm in usable),
        selector=QuotaAwareSelector(arms, ledger, seed=settings.selection_seed, clock=clock),
        synthetic=synthetic,
        served=list(universe),
        concurrency=min(settings.concurrency, together),
        url=url,
        arms=arms,
        clock=clock,
    )


def _arm(
    config: ProviderConfig, key: str | None, settings: Settings, stack: ExitStack, *, synthetic: bool, clock: Clock
) -> Arm:
    ledger = ledger_of(settings, synthetic=synthetic, clock=clock)
    limiter = RateLimiter(config.name, config.rates, settings.rates_file(synthetic=synthetic))
    meter = Meter(config, ledger, limiter)
    stack.callback(meter.close)
    if config.needs_key and not key:
        return Arm(config, None, meter, unusable=f"{config.name} has no key: set {config.key_variable}")
    provider = open_client(
        config, key=key, permit=meter.permit, synthetic=synthetic, wait=settings.retry_wait, clock=clock
    )
    stack.callback(provider.close)
    return Arm(config, provider, meter)
