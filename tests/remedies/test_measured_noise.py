"""Noise whose variance is measured: at the start, per layer, on a small-batch run."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import nn

from tests.remedies.test_gradient_noise import first_step
from tests.trainings import batch, flat, parts_of, training, trial
from tune_lb.models.mlp import MLP
from tune_lb.observation.variance_profile import variance_profile
from tune_lb.remedies.batch_growth import BatchGrowth
from tune_lb.remedies.initial_variance_noise import InitialVarianceNoise
from tune_lb.remedies.layer_noise import LayerNoise
from tune_lb.remedies.sam import SAM
from tune_lb.streams import generator
from tune_lb.training.gradient import by_autograd, mean_gradient
from tune_lb.training.pieces import gradient_variances


class Linear(nn.Module):
    """Each example's gradient is its input: two entries for a, three for b, whatever the weights."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(2).double()), nn.Parameter(torch.zeros(3).double())

    def forward(self, inputs):
        return inputs @ torch.cat([self.a, self.b])


def example_gradients(num=12):
    spread = torch.tensor([1.0, 2.0, 0.1, 0.5, 5.0]).double()
    return spread * torch.randn(num, 5, generator=torch.Generator().manual_seed(0)).double() + 3.0


def gradients(remedy, due, state, step=0, **values):
    """Return what the remedy makes of 12 examples' mean gradient with the draws 1, 2, ... 5, and its state after."""
    name = remedy.name
    module = Linear()
    gradient = remedy.gradient(mean_gradient(module, lambda outputs, _: outputs, by_autograd))
    x, draws = example_gradients(), torch.arange(1.0, 6.0).double()
    given = batch(x, torch.zeros(12), {f"{name}.{k}": v for k, v in values.items()}, {name: draws}, step)
    given = given._replace(due={name: due}, values={**given.values, "plan.num_train": torch.tensor(24.0)})
    params = {key: value.detach() for key, value in module.named_parameters()}
    _, found, buffers = gradient(params, {f"{name}/{key}": value for key, value in state.items()}, given)
    return (flat(found) - x.mean(0)) / draws, {key.rpartition("/")[2]: value for key, value in buffers.items()}


@pytest.mark.parametrize("size", [1, 3])
def test_the_largest_variance_of_an_example_at_the_start(size):
    remedy = InitialVarianceNoise(factor=0.2, piece_size=size)
    sigma, state = gradients(remedy, True, {"variance": torch.zeros(()).double()}, factor=0.2)
    pieces = torch.stack([example_gradients()[j :: 12 // size].mean(0) for j in range(12 // size)])
    expected = size * pieces.var(0).max()
    assert state["variance"].item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(sigma, (0.2 * expected).sqrt().expand(5), rtol=1e-12, atol=0)
    later, kept = gradients(remedy, False, {"variance": torch.tensor(4.0).double()}, factor=0.25)
    torch.testing.assert_close(later, torch.ones(5).double(), rtol=1e-12, atol=0)
    assert kept["variance"].item() == 4.0


def test_it_is_measured_once():
    remedy = InitialVarianceNoise(factor=0.2)
    plan = trial(remedy).plan(24)
    assert [remedy.due(plan.position(step)) for step in range(4)] == [True, False, False, False]
    running = training(trial(remedy))
    seen = []
    while not running.done:
        running.advance(1e-9)
        seen.append(running.checkpoint()["0/states/initial_variance_noise/variance"].item())
    assert seen[0] > 0
    assert len(set(seen)) == 1


def test_a_layer_has_the_trace_that_a_small_batch_lacks_no_more():
    remedy = LayerNoise(scale=0.7, small_batch_size=3)
    sigma, state = gradients(remedy, True, {"variances": torch.zeros(2).double()}, scale=0.7)
    pieces = torch.stack([example_gradients()[j::4].mean(0) for j in range(4)]).var(0)
    V = torch.stack([pieces[:2].mean(), pieces[2:].mean()])
    torch.testing.assert_close(state["variances"], V, rtol=1e-12, atol=0)
    expected = (0.7 * (1 - 3 / 12) * V).sqrt()[[0, 0, 1, 1, 1]]
    torch.testing.assert_close(sigma, expected, rtol=1e-12, atol=0)
    later, kept = gradients(remedy, False, {"variances": torch.tensor([4.0, 1.0]).double()}, scale=4 / 3)
    torch.testing.assert_close(later, torch.tensor([2.0, 2.0, 1.0, 1.0, 1.0]).double(), rtol=1e-12, atol=0)
    assert kept["variances"].tolist() == [4.0, 1.0]


@pytest.mark.parametrize(("step", "row"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (9, 2)])
def test_a_profile_goes_by_epochs_and_its_last_row_goes_on(step, row):
    profile = ((1.0, 4.0), (9.0, 16.0), (25.0, 36.0))
    remedy = LayerNoise(scale=1.0, small_batch_size=6, profile=profile)
    # 12 of 24 examples are half an epoch
    sigma, _ = gradients(remedy, False, {"variances": torch.zeros(2).double()}, step, scale=2.0)
    expected = torch.tensor(profile[row]).double().sqrt()[[0, 0, 1, 1, 1]]
    torch.testing.assert_close(sigma, expected, rtol=1e-12, atol=0)


def test_costs_and_times_of_measurement():
    remedy = LayerNoise(scale=1.0, every=4)
    plan = trial(remedy).plan(80)
    assert [step for step in range(plan.num_updates) if remedy.due(plan.position(step))] == list(range(0, 20, 4))
    assert plan.gradient_evaluations == 20 + 5
    assert trial(LayerNoise(scale=1.0, profile=((1.0,) * 5,))).plan(80).gradient_evaluations == 20


def test_noise_of_both_kinds_is_added_to_what_is_inside_it():
    for remedy in (InitialVarianceNoise(factor=0.3), LayerNoise(scale=0.3)):
        for others in ([], [SAM(rho=0.2, m=2)]):
            (inside, start), (outside, _) = first_step(*others), first_step(*others, remedy)
            drawn = remedy.draws(generator("", 0, remedy.name, 0), 8, len(start), start)
            ratio = (outside - inside) / drawn
            # one sigma for each of the five tensors (30, 6, 6, 18 and 3 numbers), or one for all
            sigmas = {round(value, 7) for value in ratio.tolist()}
            assert len(sigmas) == (1 if isinstance(remedy, InitialVarianceNoise) else 5)
            assert min(sigmas) > 0


def test_the_profile_of_a_small_batch_run():
    of = trial(batch_size=2, lr=1e-9, model=MLP(hidden=(6,), batch_norm=False))
    parts = parts_of(of)
    first, second = variance_profile(of, parts, seed=4, num_pieces=12)
    member, module = next(training(of, (4,)).trained()), training(of, (4,)).evaluation_module
    module.load_state_dict(member.params)
    losses = of.loss(module(parts.train.standardized(slice(None)).double()), parts.train.targets)
    rows = [torch.autograd.grad(loss, tuple(module.parameters()), retain_graph=True) for loss in losses]
    # at so small a rate the weights stay: both rows estimate the variance of one example over 2, from 12 pairs
    exact = [torch.stack(layer).var(0).mean().item() / 2 for layer in zip(*rows, strict=True)]
    assert first != second
    assert len(first) == len(exact) == 4
    for row in (first, second):
        assert row == pytest.approx(exact, rel=0.6)


def test_a_profile_needs_enough_batches():
    of = trial(batch_size=8)
    with pytest.raises(ValueError, match="from 2 to 3 fit"):
        variance_profile(of, parts_of(of), num_pieces=4)


@pytest.mark.parametrize(
    ("remedies", "words"),
    [
        ([InitialVarianceNoise(factor=1.0, piece_size=3)], ["piece_size = 3", "batch_size = 8", "1, 2, 4, 8"]),
        ([InitialVarianceNoise(factor=1.0, piece_size=8)], ["piece_size = 8", "fewer than two pieces"]),
        ([InitialVarianceNoise(factor=1.0, piece_size=1)], ["piece_size = 1", "two examples"]),
        ([InitialVarianceNoise(factor=1.0), SAM(rho=0.1, m=4)], ["sam.m = 4", "piece_size = 2"]),
        ([LayerNoise(scale=1.0, small_batch_size=8)], ["small_batch_size = 8", "twice as large"]),
        ([LayerNoise(scale=1.0, small_batch_size=3)], ["small_batch_size = 3", "1, 2, 4, 8"]),
        ([LayerNoise(scale=1.0, profile=((1.0,) * 4,))], ["rows of 4 numbers", "5 layers"]),
        ([LayerNoise(scale=1.0, profile=((-1.0,) * 5,))], ["negative"]),
        ([LayerNoise(scale=1.0, profile=((1.0,) * 5,)), BatchGrowth(initial=4, every=1.0)], ["profile goes by epochs"]),
        ([LayerNoise(scale=1.0), InitialVarianceNoise(factor=1.0)], ["layer_noise and initial_variance_noise"]),
        ([LayerNoise(scale=0.0), InitialVarianceNoise(factor=0.0, piece_size=7)], []),
    ],
)
def test_what_cannot_be_done_is_refused(remedies, words):
    of = trial(*remedies)
    network = MLP(hidden=(6,))((5,), 3)
    lines = of.problems() + [line for remedy in of.active for line in remedy.conflicts(of, 24, network)]
    assert bool(lines) == bool(words), lines
    assert all(any(word in line for line in lines) for word in words), lines


@pytest.mark.parametrize("num_pieces", [2, 5, 30])
def test_a_variance_is_taken_with_three_gradients_in_memory(num_pieces):
    drawn = torch.randn(num_pieces, 4, generator=torch.Generator().manual_seed(0)).double() + 1e3
    alive, most = weakref.WeakSet(), []

    def gradient(params, buffers, given):
        most.append(len(alive))
        found = drawn[len(most) - 1].clone()
        alive.add(found)
        return None, {"w": found}, buffers

    given = batch(torch.zeros(2 * num_pieces, 1), torch.zeros(2 * num_pieces), {})
    found = gradient_variances(gradient, {"w": drawn[0]}, {}, given, 2)["w"]
    assert len(most) == num_pieces
    # beside the running mean and the sum of squares
    assert max(most) <= 1
    torch.testing.assert_close(found, torch.from_numpy(drawn.numpy().var(0, ddof=1)), rtol=1e-9, atol=0)
