from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from market_data.errors import SettingsError
from market_data.providers.catalogue import (
    KNOWN,
    PROVIDERS_FILE,
    SANDBOX_FILE,
    keys_from_environment,
    load_catalogue,
)
from market_data.providers.config import ProviderConfig, Quota, Rate
from market_data.records import Basis

SECRET = "q7Zk-secret-91"


def load(text: str, **given) -> dict[str, ProviderConfig]:
    copy = Path("copy.yaml")
    copy.write_text(text)
    return load_catalogue(copy, **given)


def monthly(catalogue: dict[str, ProviderConfig]) -> dict[str, int]:
    return {name: quota.limit for name, c in catalogue.items() for quota in c.quotas if quota.period == "month"}


def test_the_packaged_catalogue_has_the_four_vendors_with_the_monthly_limits_of_the_user():
    catalogue = load_catalogue()
    assert list(catalogue) == list(KNOWN) == ["polygon", "alpha_vantage", "stooq", "yahoo"]
    assert monthly(catalogue) == {"polygon": 50_000, "alpha_vantage": 25_000, "stooq": 100_000, "yahoo": 200_000}
    assert [(c.tier, c.needs_key, c.grouped) for c in catalogue.values()] == [
        ("free", True, True),
        ("free", True, False),
        ("free", False, False),
        ("free", False, False),
    ]
    assert [c.basis for c in catalogue.values()] == [Basis.RAW, Basis.RAW, Basis.SPLIT_DIVIDEND, Basis.SPLIT]
    assert catalogue["polygon"].rates == (Rate(5, 60.0),)
    assert catalogue["polygon"].first_reachable(date(2026, 1, 16)) == date(2024, 1, 17)
    assert catalogue["alpha_vantage"].quotas == (Quota("day", 25), Quota("month", 25_000))
    assert catalogue["alpha_vantage"].reach_sessions == 100
    assert [c.intraday_reach_days for c in catalogue.values()] == [730, 0, 0, 30]


@pytest.mark.parametrize(
    ("provider", "tier", "rates", "daily", "reach"),
    [
        ("polygon", "starter", (Rate(50, 1.0),), [], 1826),
        ("polygon", "advanced", (Rate(50, 1.0),), [], None),
        ("alpha_vantage", "premium_75", (Rate(5, 1.0), Rate(75, 60.0)), [], None),
        ("alpha_vantage", "premium_1200", (Rate(20, 1.0), Rate(1200, 60.0)), [], None),
    ],
)
def test_a_paid_plan_of_a_copy_lifts_what_the_free_one_limits(provider, tier, rates, daily, reach):
    head, section = PROVIDERS_FILE.read_text().split(f"\n{provider}:", 1)
    config = load(f"{head}\n{provider}:{section.replace('tier: free', f'tier: {tier}', 1)}")[provider]
    assert (config.tier, config.rates, config.reach_days, config.reach_sessions) == (tier, rates, reach, None)
    assert [quota.limit for quota in config.quotas if quota.period == "day"] == daily


def test_every_plan_of_the_packaged_files_can_be_chosen():
    for file, address in ((PROVIDERS_FILE, None), (SANDBOX_FILE, "http://127.0.0.1:8000")):
        for provider, keys in yaml.safe_load(file.read_text()).items():
            for tier in keys["tiers"]:
                text = yaml.safe_dump({provider: keys | {"tier": tier}})
                assert load(text, base_url=address)[provider].tier == tier


def test_the_sandbox_catalogue_keeps_order_basis_and_monthly_limits_and_has_no_rates_and_no_keys():
    real, sandbox = load_catalogue(), load_catalogue(SANDBOX_FILE, base_url="http://127.0.0.1:8000/")
    assert [c.base_url for c in sandbox.values()] == [f"http://127.0.0.1:8000/{name}" for name in KNOWN]
    assert [(c.name, c.priority, c.basis) for c in sandbox.values()] == [
        (c.name, c.priority, c.basis) for c in real.values()
    ]
    assert monthly(sandbox) == monthly(real)
    for config in sandbox.values():
        assert (config.tier, config.rates, config.key_variable, config.needs_key) == ("sandbox", (), None, False)
        assert config.first_reachable(date(2026, 1, 16)) is None
    assert sandbox["polygon"].grouped


def test_keys_are_taken_from_their_variables_stripped_and_blank_ones_are_absent():
    environ = {"POLYGON_API_KEY": f" {SECRET}\n", "ALPHA_VANTAGE_API_KEY": "  ", "OTHER": "x"}
    assert keys_from_environment(load_catalogue(), environ) == {"polygon": SECRET}


@pytest.mark.parametrize("value", [f"{SECRET}\nX-Other: 1", f"{SECRET}\x00", f"{SECRET} b", f"{SECRET}é"])
def test_a_key_with_a_character_that_no_key_has_is_refused_without_showing_it(value):
    with pytest.raises(SettingsError) as caught:
        keys_from_environment(load_catalogue(), {"STOOQ_API_KEY": value})
    assert str(caught.value).startswith("STOOQ_API_KEY: the key of stooq holds a blank, a line break")
    assert SECRET not in str(caught.value)
