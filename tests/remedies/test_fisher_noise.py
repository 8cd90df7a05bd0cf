"""Noise with a variance for each weight: its formula, its running mean, what it costs and what it refuses."""

from __future__ import annotations

import pytest
import torch

from tests.remedies.test_gradient_noise import first_step
from tests.remedies.test_measured_noise import Linear, example_gradients
from tests.trainings import batch, flat, refusals, training, trial
from tune_lb.remedies.fisher_noise import FisherNoise
from tune_lb.remedies.initial_variance_noise import InitialVarianceNoise
from tune_lb.remedies.layer_noise import LayerNoise
from tune_lb.remedies.sam import SAM
from tune_lb.streams import generator
from tune_lb.training.gradient import by_autograd, by_functorch, mean_gradient, over_members


def sigmas(remedy, due, variances, step):
    """Return the standard deviation of the noise in each of 5 entries, and the variances that are kept."""
    module, x, draws = Linear(), example_gradients(), torch.arange(1.0, 6.0).double()
    gradient = remedy.gradient(mean_gradient(module, lambda outputs, _: outputs, by_autograd))
    given = batch(x, torch.zeros(12), remedy.values(), {"fisher_noise": draws}, step)._replace(
        due={"fisher_noise": due}
    )
    params = {key: value.detach() for key, value in module.named_parameters()}
    state = {"fisher_noise/a": variances[:2].double(), "fisher_noise/b": variances[2:].double()}
    _, found, kept = gradient(params, state, given)
    return (flat(found) - x.mean(0)) / draws, torch.cat([kept["fisher_noise/a"], kept["fisher_noise/b"]])


@pytest.mark.parametrize("size", [1, 3])
def test_every_entry_has_the_variance_that_a_small_batch_lacks_no_more(size):
    remedy = FisherNoise(scale=0.7, small_batch_size=size, decay=0.25)
    pieces = torch.stack([example_gradients()[j :: 12 // size].mean(0) for j in range(12 // size)]).var(0)
    sigma, kept = sigmas(remedy, True, torch.full((5,), 9.0), step=0)
    torch.testing.assert_close(kept, pieces, rtol=1e-12, atol=0)
    torch.testing.assert_close(sigma, (0.7 * (1 - size / 12) * pieces).sqrt(), rtol=1e-12, atol=0)


def test_later_measurements_are_mixed_into_a_running_mean():
    remedy = FisherNoise(scale=2.0, small_batch_size=6, decay=0.25)
    pieces = torch.stack([example_gradients()[j::2].mean(0) for j in range(2)]).var(0)
    sigma, kept = sigmas(remedy, True, torch.full((5,), 9.0), step=4)
    torch.testing.assert_close(kept, 0.25 * 9.0 + 0.75 * pieces, rtol=1e-12, atol=0)
    torch.testing.assert_close(sigma, kept.sqrt(), rtol=1e-12, atol=0)
    later, same = sigmas(remedy, False, torch.tensor([4.0, 1.0, 0.0, 9.0, 16.0]), step=5)
    assert later.tolist() == pytest.approx([2.0, 1.0, 0.0, 3.0, 4.0], rel=1e-12)
    assert same.tolist() == [4.0, 1.0, 0.0, 9.0, 16.0]


def test_the_noise_has_the_covariance_of_a_small_batch_on_its_diagonal():
    """Over 3,000 batches of 8 from the same weights, gradient and noise vary in each entry as gradients of 2 do."""
    num, spread = 3000, torch.tensor([1.0, 2.0, 0.1, 0.5, 5.0]).double()
    random = torch.Generator().manual_seed(1)
    x = spread * torch.randn(num, 8, 5, generator=random).double()
    remedy, module = FisherNoise(scale=1.0, small_batch_size=2), Linear()
    gradient = over_members(
        remedy.gradient(mean_gradient(module, lambda outputs, _: outputs, by_functorch)), vectorize=True
    )
    draws = {"fisher_noise": torch.randn(num, 5, generator=random).double()}
    given = batch(x, torch.zeros(num, 8), remedy.values(), draws)._replace(due={"fisher_noise": True})
    params = {name: value.detach().expand(num, -1) for name, value in module.named_parameters()}
    state = {f"fisher_noise/{name}": torch.zeros_like(value) for name, value in params.items()}
    _, found, _ = gradient(params, state, given)
    variances = torch.cat([found["a"], found["b"]], 1).var(0)
    # 0.1: four standard errors of a variance of 3,000 numbers
    assert (variances / (spread**2 / 2)).tolist() == pytest.approx([1.0] * 5, rel=0.1)


def test_costs_and_times_of_measurement():
    remedy = FisherNoise(scale=1.0, every=4)
    plan = trial(remedy).plan(80)
    assert [step for step in range(plan.num_updates) if remedy.due(plan.position(step))] == list(range(0, 20, 4))
    assert plan.gradient_evaluations == 20 + 5


def test_it_is_added_to_what_is_inside_it():
    remedy = FisherNoise(scale=0.3)
    for others in ([], [SAM(rho=0.2, m=2)]):
        (inside, start), (outside, _) = first_step(*others), first_step(*others, remedy)
        drawn = remedy.draws(generator("", 0, "fisher_noise", 0), 8, len(start), start)
        ratio = (outside - inside) / drawn
        assert (ratio >= -1e-9).all()
        assert len(set(ratio.round(decimals=7).tolist())) > 20


def test_the_running_mean_is_in_the_checkpoint():
    running = training(trial(FisherNoise(scale=1.0, every=2)))
    running.advance(1e-9)
    state = {key: value for key, value in running.checkpoint().items() if "/states/fisher_noise/" in key}
    assert sum(value.numel() for value in state.values()) == running.num_parameters
    assert all((value >= 0).all() for value in state.values())
    assert any((value > 0).any() for value in state.values())


@pytest.mark.parametrize(
    ("remedies", "words"),
    [
        ([FisherNoise(scale=1.0, small_batch_size=8)], ["fisher_noise.small_batch_size = 8", "twice as large"]),
        ([FisherNoise(scale=1.0, small_batch_size=3)], ["fisher_noise.small_batch_size = 3", "1, 2, 4, 8"]),
        ([FisherNoise(scale=1.0, small_batch_size=1)], ["fisher_noise.small_batch_size = 1", "two examples"]),
        ([FisherNoise(scale=1.0), SAM(rho=0.1, m=4)], ["sam.m = 4", "fisher_noise.small_batch_size = 2"]),
        ([FisherNoise(scale=1.0), LayerNoise(scale=1.0)], ["fisher_noise and layer_noise"]),
        ([FisherNoise(scale=1.0), InitialVarianceNoise(factor=1.0)], ["fisher_noise and initial_variance_noise"]),
        ([FisherNoise(scale=-1.0)], ["scale = -1.0: must be at least 0"]),
        ([FisherNoise(scale=1.0, decay=1.0)], ["decay = 1.0: must be below 1"]),
    ],
)
def test_what_cannot_be_done_is_refused(remedies, words):
    lines = refusals(*remedies)
    assert lines
    assert all(any(word in line for line in lines) for word in words), lines
