"""Keyed dropout: a fair coin for every unit, that depends on the key alone."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torchvision.ops import StochasticDepth

from tune_lb.models.dropout import KeyedDropout, keep_mask, keyed


def keys(num, seed=0):
    return torch.randint(2**63 - 1, (num,), generator=torch.Generator().manual_seed(seed))


def masks(p=0.3, num=2000, units=50, layer=0, seed=0):
    return keep_mask(keys(num, seed), torch.Size((num, units)), p, layer)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 0.9])
def test_every_unit_and_every_example_is_kept_at_the_rate(p):
    mask = masks(p).double()
    deviation = math.sqrt(p * (1 - p))
    assert abs(mask.mean() - (1 - p)) < 4 * deviation / math.sqrt(mask.numel())
    # 50 units over 2,000 examples and 2,000 examples over 50 units: their own means scatter as independent draws do
    for dim, num in ((0, 2000), (1, 50)):
        scatter = mask.mean(dim).std() / (deviation / math.sqrt(num))
        assert abs(scatter - 1) < 5 / math.sqrt(2 * (mask.shape[1 - dim] - 1))


def test_the_law_is_that_of_independent_draws():
    mask = masks(0.5, num=4000, units=200).double() * 2 - 1
    for a, b in (
        (mask[:, 1:], mask[:, :-1]),  # neighbours
        (mask[1:], mask[:-1]),  # examples
        (mask, masks(0.5, num=4000, units=200, layer=1).double() * 2 - 1),
        (mask, masks(0.5, num=4000, units=200, seed=1).double() * 2 - 1),
        (mask[:, :100], mask[:, 100:]),
    ):
        assert abs((a * b).mean()) * math.sqrt(a.numel()) < 4.5
    correlation = (mask.T @ mask / 4000).fill_diagonal_(0.0).abs().max()
    assert correlation * math.sqrt(4000) < 5.5  # 19,900 pairs


def test_keys_that_count_are_as_good_as_random_ones():
    mask = keep_mask(torch.arange(4000), torch.Size((4000, 64)), 0.5, 0).double() * 2 - 1
    assert abs(mask.mean()) * math.sqrt(mask.numel()) < 4.5
    assert (mask.T @ mask / 4000).fill_diagonal_(0.0).abs().max() * math.sqrt(4000) < 5.5
    high = keep_mask(torch.arange(4000) << 32, torch.Size((4000, 64)), 0.5, 0).double() * 2 - 1
    assert abs((mask * high).mean()) * math.sqrt(mask.numel()) < 4.5


def applied(module, x, key):
    return functional_call(module, {"dropout_key": key}, (x,))


def test_kept_units_are_scaled_so_that_the_mean_stays():
    x = torch.randn(500, 7, 11, dtype=torch.float64)
    y = applied(KeyedDropout(0.3).train(), x, keys(500))
    kept = y != 0
    torch.testing.assert_close(y[kept], x[kept] / 0.7)
    assert torch.equal(kept, keep_mask(keys(500), x.shape, 0.3, 0))


def test_evaluation_and_p_of_0_are_the_identity_and_p_of_1_is_zero():
    x = torch.randn(3, 4)
    assert applied(KeyedDropout(0.5).eval(), x, keys(3)) is x
    assert applied(KeyedDropout(0.0).train(), x, keys(3)) is x
    assert torch.equal(applied(KeyedDropout(1.0).train(), x, keys(3)), torch.zeros(3, 4))


def test_the_same_key_gives_the_same_mask_and_draws_nothing():
    module, x = KeyedDropout(0.5).train(), torch.ones(4, 100)
    state = torch.get_rng_state()
    first, second, other = applied(module, x, keys(4)), applied(module, x, keys(4)), applied(module, x, keys(4, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_example_has_its_mask_wherever_it_stands_and_among_other_members():
    module, x, key = KeyedDropout(0.5).train(), torch.ones(6, 40), keys(6)
    whole = applied(module, x, key)
    assert torch.equal(applied(module, x[1::3], key[1::3]), whole[1::3])
    together = torch.func.vmap(lambda inputs, k: applied(module, inputs, k))(
        x.expand(2, 6, 40), torch.stack([keys(6, 9), key])
    )
    assert torch.equal(together[1], whole)


def test_one_key_for_the_batch_gives_every_example_its_own_mask():
    module, x = KeyedDropout(0.5).train(), torch.ones(2000, 60)
    mask = applied(module, x, keys(1)[0]) - 1
    assert abs((mask[1:] * mask[:-1]).mean()) * math.sqrt(mask.numel()) < 4.5
    assert not torch.equal(mask, applied(module, x, keys(2)[1]) - 1)
    together = torch.func.vmap(lambda inputs, k: applied(module, inputs, k))(x.expand(2, 2000, 60), keys(2))
    assert torch.equal(together[0] - 1, mask)


def test_without_a_key_it_is_torchs_dropout():
    module, x = KeyedDropout(0.25).train(), torch.ones(1000, 50)
    torch.manual_seed(3)
    first, second = module(x), module(x)
    assert abs((first == 0).double().mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 50_000)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(module(x), first)


def test_all_kinds_are_replaced_and_numbered():
    parts = [nn.Dropout(0.1), nn.Linear(2, 2), nn.Sequential(nn.Dropout2d(0.2), StochasticDepth(0.3, "row"))]
    module = keyed(nn.Sequential(*copy.deepcopy(parts)).eval())
    found = [part for part in module.modules() if isinstance(part, KeyedDropout)]
    assert sorted((part.p, part.drawn, part.training) for part in found) == [
        (0.1, None, False),
        (0.2, 2, False),
        (0.3, 1, False),
    ]
    assert sorted(part.layer for part in found) == [0, 1, 2]
    assert module.state_dict().keys() == nn.Sequential(*parts).state_dict().keys()


def test_whole_channels_and_whole_examples_are_dropped():
    x = torch.ones(50, 6, 3, 3)
    for drawn in (1, 2):
        y = applied(KeyedDropout(0.5, drawn=drawn).train(), x, keys(50)).flatten(drawn)
        assert torch.equal(y.amin(-1), y.amax(-1))
        assert 0 < (y == 0).double().mean() < 1
