"""bf16: forward passes of training in bfloat16, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.trainings import EXAMPLES, Blobs, flat, parts_of, refusals, trial
from tune_lb.losses import cross_entropy
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.models.mlp import MLP
from tune_lb.models.small_cnn import SmallCNN
from tune_lb.observation.outcome import outcomes
from tune_lb.remedies.adaptive_linearization import AdaptiveLinearization
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_norm_penalty import GradientNormPenalty
from tune_lb.remedies.sam import SAM
from tune_lb.settings.identity import identity
from tune_lb.space.checks import checked_designs, space_problems
from tune_lb.space.description import description
from tune_lb.space.loading import load_space
from tune_lb.training.compiled_step import program_key
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.gradient import Batch, by_autograd, by_functorch, mean_gradient, on_targets, over_members
from tune_lb.training.precision import in_precision, normalizing_in_fp32
from tune_lb.training.training import Training

LAST = [examples[-1] for examples in EXAMPLES.values()]
ROUNDING = 2.0**-8
"""Relative rounding error of bfloat16: 8 bits of mantissa, the first not stored."""


class Adding(nn.Module):
    """A network that autocast cannot run: it adds lowered numbers to float32 in place."""

    def __init__(self, shape, num_classes):
        super().__init__()
        self.linear = nn.Linear(shape[0], num_classes)

    def forward(self, x):
        rows = torch.arange(x.shape[0])
        return x.new_zeros(x.shape[0], 3).index_add(0, rows, self.linear(x))


def gradients(of, seeds=(0, 1), execution="alone"):
    """Return by seed the first update's gradient in one vector."""
    found = Training(of, seeds, parts_of(of), execution=execution).gradients()
    return {seed: flat(tree) for seed, tree in found.items()}


def distance(a, b):
    return float((a - b).norm() / b.norm())


def linear(dtype=torch.float32):
    torch.manual_seed(0)
    module = nn.Linear(4, 3, bias=False)
    params = {"weight": module.weight.detach().to(dtype)}
    inputs = torch.randn(6, 4, dtype=dtype)
    return module, params, Batch(inputs, torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor(0), {}, {})


def test_a_linear_layer_is_that_of_rounded_weights_and_inputs():
    module, params, batch = linear()
    gradient = mean_gradient(module, on_targets(cross_entropy), by_autograd, "bf16")
    loss, found, _ = gradient(params, {}, batch)
    x, w = batch.inputs.bfloat16().double(), params["weight"].bfloat16().double()
    logits = (x @ w.T).bfloat16().double()
    # the loss is computed in float32 from the rounded outputs
    expected = -logits.log_softmax(1)[range(6), batch.targets].mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    error = (logits.softmax(1) - nn.functional.one_hot(batch.targets)).bfloat16() / 6
    assert distance(found["weight"].double(), error.bfloat16().double().T @ x) < 2 * ROUNDING
    assert (found["weight"].dtype, loss.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize("differentiate", [by_autograd, by_functorch])
def test_fp32_is_the_plain_gradient_and_float64_is_refused_in_bf16(differentiate):
    module, params, batch = linear()
    plain = mean_gradient(module, on_targets(cross_entropy), differentiate)(params, {}, batch)[1]
    same = mean_gradient(module, on_targets(cross_entropy), differentiate, "fp32")(params, {}, batch)[1]
    assert torch.equal(plain["weight"], same["weight"])
    module, params, batch = linear(torch.float64)
    with pytest.raises(ValueError, match=r"precision = 'bf16' is for training in float32, not in torch.float64"):
        mean_gradient(module, on_targets(cross_entropy), differentiate, "bf16")(params, {}, batch)


@pytest.mark.parametrize("model", [MLP(hidden=(6,)), MLP(hidden=(32, 32))], ids=str)
@pytest.mark.parametrize("remedies", [[], [GhostBatchNorm(ghost_batch_size=4)]], ids=str)
def test_gradients_differ_from_fp32_and_by_rounding_only(model, remedies):
    of = trial(*remedies, model=model, data=Blobs(num_train=96), batch_size=64)
    exact, lowered = gradients(of), gradients(replace(of, precision="bf16"))
    for seed, value in lowered.items():
        assert value.isfinite().all()
        assert 1e-4 < distance(value, exact[seed]) < 16 * ROUNDING
    together = gradients(replace(of, precision="bf16"), execution="together")
    for seed, value in together.items():
        assert distance(value, lowered[seed]) < ROUNDING


@pytest.mark.parametrize("remedy", LAST, ids=str)
@pytest.mark.parametrize("execution", ["alone", "together"])
def test_every_remedy_trains_in_bf16_or_is_refused(remedy, execution):
    of = trial(remedy, precision="bf16")
    problems = of.problems() + check_against_data(of, of.data.load(0))
    assert bool(problems) == (type(remedy) in (AdaptiveLinearization, GradientNormPenalty))
    if problems:
        assert "differences of gradients, which are lost in the rounding of bfloat16" in problems[0]
        assert not refusals(remedy)
        return
    running = Training(of, (0, 1), parts_of(of), execution=execution)
    rows = running.advance(1.0)
    assert all(torch.tensor(row.value).isfinite() for row in rows)
    for member in running.trained():
        assert {value.dtype for value in member.params.values()} == {torch.float32}
        assert {v.dtype for v in member.buffers.values() if v.is_floating_point()} == {torch.float32}


def test_convolutions_too_stacked_and_alone():
    module = SmallCNN()((1, 12, 12), 3)
    params = {name: value.detach() for name, value in module.named_parameters()}
    buffers = dict(module.named_buffers())
    batch = Batch(torch.randn(4, 1, 12, 12), torch.tensor([0, 1, 2, 0]), torch.tensor(0), {}, {})
    batch = batch._replace(examples={"dropout_key": torch.arange(4)})
    alone = mean_gradient(module, on_targets(cross_entropy), by_autograd, "bf16")(params, buffers, batch)[1]
    stacked = over_members(
        mean_gradient(normalizing_in_fp32(module), on_targets(cross_entropy), by_functorch, "bf16"), vectorize=True
    )
    two = [{name: torch.stack([v, v]) for name, v in tree.items()} for tree in (params, buffers)]
    pair = batch._replace(
        inputs=torch.stack([batch.inputs] * 2),
        targets=torch.stack([batch.targets] * 2),
        examples={"dropout_key": torch.stack([torch.arange(4)] * 2)},
    )
    together = stacked(*two, pair)[1]
    assert distance(flat({k: v[1] for k, v in together.items()}), flat(alone)) < 8 * ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("execution", ["compiled_together"])
def test_compiled_too(execution):
    of = trial(SAM(rho=0.1), GhostBatchNorm(ghost_batch_size=4), precision="bf16")
    ends = []
    for way in ("alone", execution):
        running = Training(of, (0, 1), parts_of(of), execution=way)
        running.advance(1e-9)
        ends.append({member.seed: flat(member.params) for member in running.trained()})
    for seed, value in ends[0].items():
        # a compiler may keep between two operations what eager training rounds
        assert 0 < distance(ends[1][seed], value) < ROUNDING


def test_evaluation_and_hessian_vector_products_are_those_of_fp32():
    of = trial()
    running = Training(of, (0,), parts_of(of))
    lowered = Training(replace(of, precision="bf16"), (0,), parts_of(of))
    rows = []
    for training in (running, lowered):
        # the same weights, never trained: only what measures them can differ
        row = outcomes(training, metrics=[LambdaMax()], wall_s=0.0)[0].row
        rows.append(
            {name: row[name] for name in ("train_loss", "test_loss", "test_error", "lambda_max", "lambda_max.dtype")}
        )
    assert rows[0] == rows[1]
    assert rows[0]["lambda_max.dtype"] == "float32"
    assert not torch.is_autocast_enabled("cpu")


def test_it_is_part_of_a_trial_and_of_its_program_and_old_ones_keep_their_identity():
    of = trial()
    lowered = replace(of, precision="bf16")
    assert "precision" not in identity(of)
    assert of.trial_id("data") != lowered.trial_id("data")
    assert program_key(of, "alone") != program_key(lowered, "alone")
    assert (of.columns()["precision"], lowered.columns()["precision"]) == ("fp32", "bf16")


def test_a_space_and_its_arms_take_it_and_unknown_ones_are_refused():
    space = load_space("quickstart").space
    lowered = space.overridden([("precision", "bf16")])
    assert {design.template.precision for design in checked_designs(lowered)} == {"bf16"}
    assert description(space) != description(lowered)
    one = space.overridden([("large_batch.precision", "bf16")])
    assert {d.template.precision for d in checked_designs(one) if d.name in ("large_batch", "placebo")} == {"bf16"}
    assert {d.template.precision for d in checked_designs(one) if d.name in ("small_batch", "sam")} == {"fp32"}
    problems = space_problems(space.overridden([("precision", "bf17")]))
    assert problems == ["space.precision = bf17: must be one of 'fp32', 'bf16', 'tf32'; did you mean 'bf16'?"]


def test_a_network_that_does_not_run_under_autocast_is_refused():
    of = trial(model=Adding, precision="bf16")
    problems = check_against_data(of, of.data.load(0))
    assert any("the network does not run under autocast" in problem for problem in problems)


def test_nothing_of_the_mode_is_left_behind():
    _, params, batch = linear()
    call = in_precision(lambda tensors, inputs: inputs @ tensors["weight"].T, "bf16")
    assert call(params, batch.inputs).dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")
    assert (batch.inputs @ params["weight"].T).dtype == torch.float32
