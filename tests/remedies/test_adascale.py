"""The gain of AdaScale: its formula, its ends, its running means, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from tests.remedies.test_measured_noise import Linear, example_gradients
from tests.trainings import batch, flat, refusals, training, trial
from tune_lb.optimizers.elementwise import Adam
from tune_lb.remedies.adascale import AdaScale
from tune_lb.remedies.layer_noise import LayerNoise
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.scaling import Scaling
from tune_lb.training.gradient import by_autograd, mean_gradient


def scaled(remedy, x, state=(0.0, 0.0), step=0):
    """Return the gradient that the remedy makes of examples whose gradients are x, over their mean, and its state."""
    module = Linear()
    gradient = remedy.gradient(mean_gradient(module, lambda outputs, _: outputs, by_autograd))
    names = ("adascale/variance", "adascale/square")
    given = {name: torch.tensor(value).double() for name, value in zip(names, state, strict=True)}
    params = {key: value.detach() for key, value in module.named_parameters()}
    _, found, kept = gradient(params, given, batch(x, torch.zeros(len(x)), remedy.values(), step=step))
    return flat(found), [kept[name].item() for name in names]


@pytest.mark.parametrize("size", [1, 2, 6])
def test_the_gain_of_the_first_step(size):
    x = example_gradients()
    num = 12 // size
    pieces = torch.stack([x[j::num].mean(0) for j in range(num)])
    v = pieces.var(0).sum().item()
    s = (x.mean(0).square().sum() - v / num).item()
    found, state = scaled(AdaScale(small_batch_size=size), x)
    assert state == pytest.approx([v, s], rel=1e-12)
    gain = (v + s) / (v / num + s)
    assert 1 < gain < num
    torch.testing.assert_close(found, gain * x.mean(0), rtol=1e-12, atol=0)


def test_the_gain_is_1_without_noise_and_the_number_of_pieces_without_a_mean():
    same = torch.full((12, 5), 2.0).double()
    torch.testing.assert_close(scaled(AdaScale(small_batch_size=3), same)[0], same[0], rtol=1e-12, atol=0)
    centred = example_gradients() - example_gradients().mean(0)
    mean = 1e-9 * torch.ones(5).double()
    torch.testing.assert_close(scaled(AdaScale(small_batch_size=3), centred + mean)[0], 4 * mean, rtol=1e-5, atol=0)
    assert scaled(AdaScale(small_batch_size=3), torch.zeros(12, 5).double())[0].tolist() == [0.0] * 5


@pytest.mark.parametrize(("remedy", "kept"), [(AdaScale(3), 0.996), (AdaScale(3, decay=0.25), 0.25)])
def test_later_estimates_enter_running_means(remedy, kept):
    x = example_gradients()
    (_, first), (found, state) = scaled(remedy, x), scaled(remedy, x, (7.0, 3.0), step=5)
    expected = [kept * old + (1 - kept) * new for old, new in zip((7.0, 3.0), first, strict=True)]
    assert state == pytest.approx(expected, rel=1e-12)
    gain = sum(expected) / (expected[0] / 4 + expected[1])
    torch.testing.assert_close(found, gain * x.mean(0), rtol=1e-12, atol=0)


def test_it_costs_no_more_gradients_and_its_state_is_in_the_checkpoint():
    of = trial(AdaScale(small_batch_size=2))
    assert of.plan(80).gradient_evaluations == 20
    running = training(of)
    running.advance(1e-9)
    state = {key: value for key, value in running.checkpoint().items() if "/states/adascale/" in key}
    assert len(state) == 2
    assert all(value >= 0 for value in state.values())
    assert any(value > 0 for value in state.values())


@pytest.mark.parametrize(
    ("remedies", "words"),
    [
        ([AdaScale(8)], ["adascale.small_batch_size = 8", "twice as large"]),
        ([AdaScale(3)], ["adascale.small_batch_size = 3", "1, 2, 4, 8"]),
        ([AdaScale(1)], ["adascale.small_batch_size = 1", "two examples"]),
        ([AdaScale(0)], ["small_batch_size = 0: must be at least 1"]),
        ([AdaScale(2, decay=1.0)], ["decay = 1.0: must be below 1"]),
        ([AdaScale(2), Scaling(base_batch_size=2)], ["adascale and scaling"]),
        ([AdaScale(2), LayerNoise(scale=1.0)], ["adascale and layer_noise"]),
        ([AdaScale(2), SAM(rho=0.1, m=4)], ["sam.m = 4", "adascale.small_batch_size = 2"]),
    ],
)
def test_what_cannot_be_done_is_refused(remedies, words):
    lines = refusals(*remedies)
    assert all(any(word in line for line in lines) for word in words), lines


@pytest.mark.parametrize("changes", [{"optimizer": Adam()}, {"lr": None, "eta_over_b": 0.01}])
def test_a_rate_scaled_already_and_optimizers_that_undo_a_scale_are_refused(changes):
    of = trial(AdaScale(2), **changes)
    lines = AdaScale(2).conflicts(of, 24, of.network((5,), 3))
    assert len(lines) == 1
    assert lines[0].startswith("adascale.small_batch_size = 2: " + ("eta_over_b" if "lr" in changes else "Adam"))
