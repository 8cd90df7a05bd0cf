"""Optimisers: torch.optim's to the last bit on stacked members, and the layer-wise ones against their formulas by hand."""

from __future__ import annotations

import copy
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.trainings import same_up_to_rounding, training, trajectory, trial
from tune_lb.optimizers.elementwise import SGD, AdaGrad, Adam, AdamW, RMSprop
from tune_lb.optimizers.lamb import LAMB
from tune_lb.optimizers.lars import LARS
from tune_lb.optimizers.muon import Muon, orthogonalized
from tune_lb.optimizers.settings import OptimizerSettings

ELEMENTWISE = [
    SGD(momentum=0.0),
    SGD(momentum=0.9, weight_decay=1e-2),
    SGD(momentum=0.9, nesterov=True),
    Adam(weight_decay=1e-2),
    AdamW(weight_decay=0.1),
    AdaGrad(initial_accumulator=0.1),
    RMSprop(momentum=0.5),
    RMSprop(centered=True),
]
LAYERWISE = [
    LARS(weight_decay=1e-2, trust_coefficient=0.02),
    LARS(momentum=0.5, rate_in_velocity=False, eps=1e-3),
    LAMB(weight_decay=0.1),
    LAMB(largest_norm=0.5),
    Muon(weight_decay=0.1),
    Muon(nesterov=False, adamw_length=True, vector_rate=0.1, iterations=3),
]
RATES = (0.1, 0.2, 0.05, 0.05)
SHAPES = ((7, 5), (7,), (3, 2, 3, 3), (), (33,))


def tensors(seed, dtype=torch.float64, shapes=SHAPES):
    stream = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=stream, dtype=dtype) for shape in shapes]


def moved(settings, start, gradients, *, members_first=False, rates=RATES):
    """Return the tensors after every step."""
    weights = [tensor.clone() for tensor in start]
    optimizer = settings.build(weights, 1.0, members_first=members_first)
    path = []
    for rate, slopes in zip(rates, gradients, strict=True):
        for options in optimizer.param_groups:
            options["lr"] = rate
        for weight, slope in zip(weights, slopes, strict=True):
            weight.grad = slope.clone()
        optimizer.step()
        path.append([weight.clone() for weight in weights])
    return path


def problem(seed, dtype=torch.float64):
    return tensors(seed, dtype), [tensors(100 * seed + step, dtype) for step in range(len(RATES))]


def stacked(lists):
    return [torch.stack(parts) for parts in zip(*lists, strict=True)]


@pytest.mark.parametrize("settings", ELEMENTWISE, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stacked_members_are_separate_runs_to_the_last_bit(settings, dtype):
    runs = [problem(seed, dtype) for seed in (1, 2, 3)]
    start = stacked([run[0] for run in runs])
    gradients = [stacked([run[1][step] for run in runs]) for step in range(len(RATES))]
    together = moved(settings, start, gradients, members_first=True)
    for position, run in enumerate(runs):
        for alone, beside in zip(moved(settings, *run), together, strict=True):
            assert all(torch.equal(a, b[position]) for a, b in zip(alone, beside, strict=True))


@pytest.mark.parametrize("settings", LAYERWISE, ids=str)
def test_layerwise_norms_are_each_members_own(settings):
    runs = [problem(seed) for seed in (1, 2, 3)]
    start = stacked([run[0] for run in runs])
    gradients = [stacked([run[1][step] for run in runs]) for step in range(len(RATES))]
    together = moved(settings, start, gradients, members_first=True)
    for position, run in enumerate(runs):
        for alone, beside in zip(moved(settings, *run), together, strict=True):
            for a, b in zip(alone, beside, strict=True):
                torch.testing.assert_close(a, b[position], rtol=1e-13, atol=1e-14)
    # with the member dimension taken for one of the tensor's own, biases would be adapted
    wrong = moved(settings, start, gradients, members_first=False)
    assert not torch.allclose(wrong[-1][1], together[-1][1])


def by_hand(settings, start, gradients):
    """Return the formula of each element-wise optimiser, one tensor at a time."""
    path, weights, memory = [], [w.clone() for w in start], [{} for _ in start]
    for t, (rate, slopes) in enumerate(zip(RATES, gradients, strict=True), start=1):
        for i, (w, g) in enumerate(zip(weights, slopes, strict=True)):
            kept, decay = memory[i], settings.weight_decay
            if isinstance(settings, AdamW):
                w = w * (1 - rate * decay)
            elif decay:
                g = g + decay * w
            if isinstance(settings, SGD):
                kept["v"] = settings.momentum * kept.get("v", 0) + g
                step = g + settings.momentum * kept["v"] if settings.nesterov else kept["v"]
            elif isinstance(settings, Adam):
                kept["m"] = settings.beta1 * kept.get("m", 0) + (1 - settings.beta1) * g
                kept["s"] = settings.beta2 * kept.get("s", 0) + (1 - settings.beta2) * g**2
                mean, square = kept["m"] / (1 - settings.beta1**t), kept["s"] / (1 - settings.beta2**t)
                step = mean / (square**0.5 + settings.eps)
            elif isinstance(settings, AdaGrad):
                kept["s"] = kept.get("s", settings.initial_accumulator) + g**2
                step = g / (kept["s"] ** 0.5 + settings.eps)
            else:
                kept["s"] = settings.beta2 * kept.get("s", 0) + (1 - settings.beta2) * g**2
                kept["m"] = settings.beta2 * kept.get("m", 0) + (1 - settings.beta2) * g
                square = kept["s"] - kept["m"] ** 2 if settings.centered else kept["s"]
                kept["v"] = settings.momentum * kept.get("v", 0) + g / (square**0.5 + settings.eps)
                step = kept["v"]
            weights[i] = w - rate * step
        path.append([w.clone() for w in weights])
    return path


@pytest.mark.parametrize("settings", ELEMENTWISE, ids=str)
def test_elementwise_by_hand(settings):
    for found, expected in zip(moved(settings, *problem(4)), by_hand(settings, *problem(4)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def lars_by_hand(settings, start, gradients):
    """Return You, Gitman and Ginsburg's algorithm 1 in plain numbers, tensor by tensor."""
    path, weights, velocities = [], [w.clone() for w in start], [0.0] * len(start)
    for rate, slopes in zip(RATES, gradients, strict=True):
        for i, (w, g) in enumerate(zip(weights, slopes, strict=True)):
            local = 1.0
            if w.dim() > 1:
                length, slope = math.sqrt(float((w * w).sum())), math.sqrt(float((g * g).sum()))
                local = settings.trust_coefficient * length / (slope + settings.weight_decay * length + settings.eps)
                g = g + settings.weight_decay * w
            inside, outside = (rate, 1.0) if settings.rate_in_velocity else (1.0, rate)
            velocities[i] = settings.momentum * velocities[i] + inside * local * g
            weights[i] = w - outside * velocities[i]
        path.append([w.clone() for w in weights])
    return path


@pytest.mark.parametrize("settings", LAYERWISE[:2], ids=str)
def test_lars_step_by_step(settings):
    for found, expected in zip(moved(settings, *problem(5)), lars_by_hand(settings, *problem(5)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_a_lars_step_is_a_share_of_the_weights():
    # one weight matrix of length 5, gradient of length 13, no decay: |step| = rate trust |w|, whatever |g|
    weight, slope = torch.tensor([[3.0, 4.0]]).double(), torch.tensor([[5.0, 12.0]]).double()
    for factor in (1.0, 1e-6):
        path = moved(LARS(trust_coefficient=0.01), [weight], [[factor * slope]], rates=(2.0,))
        torch.testing.assert_close(weight - path[0][0], 2.0 * 0.01 * 5.0 / 13.0 * slope)


def test_both_forms_of_lars_momentum_agree_at_a_constant_rate():
    inside, outside = (
        moved(LARS(weight_decay=0.1, rate_in_velocity=form), *problem(6), rates=(0.3,) * 4) for form in (True, False)
    )
    torch.testing.assert_close(inside, outside, rtol=1e-12, atol=1e-13)
    changing = [moved(LARS(rate_in_velocity=form), *problem(6))[-1][0] for form in (True, False)]
    assert not torch.allclose(*changing)


def lamb_by_hand(settings, start, gradients):
    """Return You et al.'s algorithm 2 in plain numbers, tensor by tensor."""
    path, weights = [], [w.clone() for w in start]
    means, squares = [0.0] * len(start), [0.0] * len(start)
    for t, (rate, slopes) in enumerate(zip(RATES, gradients, strict=True), start=1):
        for i, (w, g) in enumerate(zip(weights, slopes, strict=True)):
            means[i] = settings.beta1 * means[i] + (1 - settings.beta1) * g
            squares[i] = settings.beta2 * squares[i] + (1 - settings.beta2) * g**2
            root = (squares[i] / (1 - settings.beta2**t)) ** 0.5
            u, ratio = means[i] / (1 - settings.beta1**t) / (root + settings.eps), 1.0
            if w.dim() > 1:
                u = u + settings.weight_decay * w
                length = math.sqrt(float((w * w).sum()))
                ratio = min(length, settings.largest_norm or math.inf) / math.sqrt(float((u * u).sum()))
            weights[i] = w - rate * ratio * u
        path.append([w.clone() for w in weights])
    return path


@pytest.mark.parametrize("settings", [*LAYERWISE[2:4], LAMB(beta1=0.0, beta2=0.0)], ids=str)
def test_lamb_step_by_step(settings):
    for found, expected in zip(moved(settings, *problem(7)), lamb_by_hand(settings, *problem(7)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_lamb_on_biases_is_adam():
    vectors = ((7,), (33,), ())
    start, gradients = tensors(8, shapes=vectors), [tensors(80 + step, shapes=vectors) for step in range(4)]
    lamb = moved(LAMB(weight_decay=0.5, eps=1e-8), start, gradients)
    torch.testing.assert_close(lamb, moved(Adam(), start, gradients), rtol=1e-12, atol=1e-14)


def moved_singular_values(matrix, iterations):
    """Return Newton-Schulz by the singular value decomposition that it avoids."""
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    s = s / s.square().sum().sqrt()
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ torch.diag(s) @ v


def test_orthogonalized_moves_singular_values_and_nothing_else():
    for rows, columns in ((4, 9), (9, 4), (5, 5), (1, 6)):
        matrices = torch.stack(tensors(rows, shapes=[(rows, columns)] * 3))
        for iterations in (1, 5):
            found = orthogonalized(matrices, iterations)
            expected = torch.stack([moved_singular_values(matrix, iterations) for matrix in matrices])
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        assert (torch.linalg.svdvals(orthogonalized(matrices, 5)) - 0.95).abs().max() < 0.35
    assert orthogonalized(torch.zeros(3, 2), 5).abs().max() == 0


@pytest.mark.parametrize("settings", LAYERWISE[4:], ids=str)
def test_muon_step_by_step(settings):
    (start, gradients), velocities = problem(10), {}
    weights = [w.clone() for w in start]
    vectors = Adam().resolved({"eps": settings.eps})
    rates = tuple(settings.vector_rate * rate for rate in RATES)
    of_vectors = moved(vectors, start, gradients, rates=rates)
    for step, (rate, slopes) in enumerate(zip(RATES, gradients, strict=True)):
        for i, (w, g) in enumerate(zip(weights, slopes, strict=True)):
            if w.dim() < 2:
                weights[i] = of_vectors[step][i]
                continue
            velocities[i] = settings.momentum * velocities.get(i, 0.0) + g
            u = (g + settings.momentum * velocities[i] if settings.nesterov else velocities[i]).reshape(len(w), -1)
            rows, columns = u.shape
            length = 0.2 * max(rows, columns) ** 0.5 if settings.adamw_length else max(1.0, rows / columns) ** 0.5
            update = length * moved_singular_values(u, settings.iterations).reshape(w.shape)
            weights[i] = w * (1 - rate * settings.weight_decay) - rate * update
        torch.testing.assert_close(moved(settings, start, gradients)[step], weights, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("adamw_length", [False, True])
def test_muon_is_torchs_up_to_bfloat16(adamw_length):
    start, gradients = tensors(11, torch.float32, [(24, 16)]), [tensors(s, torch.float32, [(24, 16)]) for s in range(4)]
    found = moved(Muon(weight_decay=0.1, adamw_length=adamw_length), start, gradients, rates=(0.1,) * 4)[-1][0]
    weight = start[0].clone()
    kind = "match_rms_adamw" if adamw_length else "original"
    theirs = torch.optim.Muon([weight], lr=0.1, weight_decay=0.1, momentum=0.95, adjust_lr_fn=kind)
    for slopes in gradients:
        weight.grad = slopes[0].clone()
        theirs.step()
    assert (found - weight).norm() < 0.02 * (weight - start[0]).norm()


@pytest.mark.parametrize("settings", LAYERWISE, ids=str)
def test_weights_that_start_at_zero_move_and_zero_gradients_do_no_harm(settings):
    shapes = ((4, 3), (4,))
    zeros = tensors(0, shapes=shapes)
    for tensor in zeros:
        tensor.zero_()
    gradients = [tensors(step, shapes=shapes) for step in range(4)]
    first = moved(settings, zeros, gradients)[0]
    assert all((tensor != 0).all() for tensor in first)
    start = tensors(1, shapes=shapes)
    still = moved(settings, start, [zeros] * 4)
    assert all(torch.isfinite(tensor).all() for tensor in still[-1])
    torch.testing.assert_close(still[-1][1], start[1])


@pytest.mark.parametrize("settings", [*ELEMENTWISE[:3], *LAYERWISE], ids=str)
def test_the_rate_may_be_a_tensor(settings):
    as_tensors = tuple(torch.tensor(rate, dtype=torch.float64) for rate in RATES)
    found, expected = moved(settings, *problem(9), rates=as_tensors), moved(settings, *problem(9))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("settings", [*ELEMENTWISE, *LAYERWISE], ids=str)
def test_trains_alone_and_together_and_goes_on_from_a_snapshot(settings):
    of = trial(optimizer=settings, lr=0.05)
    alone, together = trajectory(of, (3, 0)), trajectory(of, (3, 0), "together")
    assert same_up_to_rounding(alone, together)
    assert (alone[3][-1] - alone[3][0]).abs().max() > 1e-4
    running = training(of, (3,))
    running.advance(1.0)
    resumed = training(of, (3,))
    resumed.restore(copy.deepcopy(running.checkpoint()))
    for each in (running, resumed):
        each.advance(1.0)
    ends = [next(iter(each.trained())).params for each in (running, resumed)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.slow
@pytest.mark.parametrize("settings", LAYERWISE[:1], ids=str)
@pytest.mark.skipif(not (shutil.which("c++") or shutil.which("g++")), reason="no C++ compiler")
def test_trains_compiled(settings):
    of = trial(optimizer=settings, lr=0.05)
    assert same_up_to_rounding(trajectory(of, (3, 0)), trajectory(of, (3, 0), "compiled_together"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (SGD(momentum=0.0, nesterov=True), "nesterov = True needs a momentum"),
        (AdamW(weight_decay=-0.1), "weight_decay = -0.1: must be at least 0"),
        (AdaGrad(initial_accumulator=-1.0), "initial_accumulator = -1.0"),
        (RMSprop(beta2=1.0), "beta2 = 1.0: must be below 1"),
        (LARS(trust_coefficient=0.0), "trust_coefficient = 0.0: must be above 0"),
        (LAMB(largest_norm=0.0), "largest_norm = 0.0: must be above 0"),
        (Muon(iterations=0), "iterations = 0: must be at least 1"),
    ],
)
def test_what_is_out_of_range_is_said(settings, words):
    assert len(settings.problems("optimizer")) == 1
    assert words in settings.problems("optimizer")[0]
    with pytest.raises(TypeError, match="does not say which"):
        OptimizerSettings().build([], 0.1)


@pytest.mark.slow
def test_a_training_does_not_load_the_compiler_or_scikit_learn():
    """Each takes a second of every process that trains; where something is compiled, torch loads its own."""
    code = """
import sys
from tests.trainings import training, trial
running = training(trial(), (0,), "alone")
running.advance()
from tune_lb.data import Digits
Digits().load(0)
assert not {"torch._dynamo", "sklearn"} & set(sys.modules)
import torch
step = torch.compile(lambda x: x + 1, backend="eager")
assert step(torch.ones(1)).item() == 2.0
model = torch.nn.Linear(2, 2)
torch.optim.SGD(model.parameters(), lr=0.1).add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=Path(__file__).parents[2])
