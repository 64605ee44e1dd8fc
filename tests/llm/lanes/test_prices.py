"""What a request costs in a batch: half, or the share that the user knows."""

from __future__ import annotations

import pytest

from batchmill import UsageError
from batchmill.llm import Usage
from batchmill.llm.prices import PriceList

USED = Usage(1_000_000, 500_000, cached=200_000)


def price(**more: float) -> dict[str, dict[str, float]]:
    return {"acme/m": {"input": 1, "output": 4, "cached_input": 0.1, "request": 0.01, **more}}


@pytest.mark.parametrize(("more", "share"), [({}, 0.5), ({"batch": 0.6}, 0.6), ({"batch": 1}, 1), ({"batch": 0}, 0)])
def test_a_batch_costs_a_share_of_everything(more: dict[str, float], share: float) -> None:
    found = PriceList(price(**more)).price_of("acme/m")
    assert found is not None
    assert found.in_batches.cost(USED) == round(share * found.cost(USED))
    assert found.in_batches.most(1000, 1000) <= found.most(1000, 1000)
    assert f"{share} in batches" in found.in_batches.version


def test_half_of_an_odd_price_is_rounded_up_so_that_reservations_hold() -> None:
    found = PriceList({"acme/m": {"input": 0.00000003, "output": 0}}).price_of("acme/m")
    assert found is not None
    assert found.in_batches.tiers[0].input == 2


def test_models_of_ones_own_machine_and_listed_ones_have_a_price_in_batches() -> None:
    prices = PriceList()
    local, listed = prices.price_of("vllm/m"), prices.price_of("openai/gpt-4o-mini")
    assert local is not None
    assert local.in_batches.cost(USED) == 0
    assert listed is not None
    assert listed.in_batches.cost(USED) == pytest.approx(listed.cost(USED) / 2, abs=1)


def test_a_share_that_is_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match="`batch` of the price of `acme/m`"):
        PriceList(price(batch=-1))
