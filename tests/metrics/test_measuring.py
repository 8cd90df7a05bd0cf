"""measure(): any network, any device, any common loss, nothing left behind."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.metrics.cases import data, dense_hessian, network, reference_loss
from tune_lb.errors import RequestError
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.measuring import measure
from tune_lb.metrics.names import as_metrics, metric_kinds
from tune_lb.surface.per_example_loss import PerExample
from tune_lb.testing.side_effects import assert_leaves_no_trace

EXACT = LambdaMax(tolerance=1e-8)


def dense_lambda_max(net, inputs, targets, batch_norm="running"):
    flat = torch.cat([p.detach().flatten() for p in net.parameters()])
    H = dense_hessian(lambda point: reference_loss(net, point, inputs, targets, batch_norm), flat)
    return float(torch.linalg.eigvalsh(H)[-1])


LOSSES = {
    "module": nn.CrossEntropyLoss(),
    "function": F.cross_entropy,
    "per example": lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none"),
    "unreduced module": nn.CrossEntropyLoss(reduction="none"),
    "opaque mean": lambda outputs, targets: F.cross_entropy(outputs, targets),
    "written out": lambda outputs, targets: (outputs.logsumexp(1) - outputs.gather(1, targets[:, None])[:, 0]).mean(),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("chunk", [None, 4])
def test_every_form_of_a_loss_gives_the_dense_hessian_s_eigenvalue(loss, chunk):
    net, (inputs, targets) = network(), data()
    row = measure(net, loss, inputs, targets, EXACT, chunk=chunk)
    assert row["lambda_max"] == pytest.approx(dense_lambda_max(net, inputs, targets), rel=1e-8)
    expected = float(
        reference_loss(net, torch.cat([p.detach().flatten() for p in net.parameters()]), inputs, targets, "running")
    )
    assert row["lambda_max.loss"] == pytest.approx(expected, rel=1e-12)


def test_squared_error_of_several_outputs_is_the_mean_over_all_of_them():
    net, inputs = nn.Linear(6, 3).double(), data()[0]
    targets = torch.randn(10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    row = measure(net, nn.MSELoss(), inputs, targets, EXACT)
    assert row["lambda_max.loss"] == pytest.approx(float(((net(inputs) - targets) ** 2).mean().detach()), rel=1e-12)
    extended = torch.cat([inputs, torch.ones(10, 1)], 1)
    top = float(torch.linalg.eigvalsh(2 * extended.T @ extended / 30)[-1])
    assert row["lambda_max"] == pytest.approx(top, rel=1e-9)


def total(outputs, targets):
    return F.cross_entropy(outputs, targets, reduction="sum")


def across(outputs, targets):
    return (outputs - outputs.mean(0)).square().mean()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (nn.CrossEntropyLoss(reduction="sum"), "the mean of their losses"),
        (total, "the mean of their losses"),
        (across, "the mean of their losses"),
        (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2, 3], dtype=torch.float64)), "class weights"),
        (lambda outputs, targets: outputs, r"returned \(10, 3\) for 10 examples"),
        (lambda outputs, targets: 1.0, "returned float"),
        (nn.CrossEntropyLoss, "give a function or an instance"),
        ("cross_entropy", "give a function"),
    ],
)
def test_losses_that_are_no_mean_over_examples_are_refused(loss, message):
    net = network()
    with pytest.raises(RequestError, match=message):
        assert_leaves_no_trace(lambda: measure(net, loss, *data()), net)


def test_ignored_targets_are_refused_in_any_chunk():
    inputs, targets = data()
    targets[-1] = -100
    with pytest.raises(RequestError, match="targets are -100"):
        measure(network(), F.cross_entropy, inputs, targets, chunk=4)
    assert PerExample(lambda o, t: (o[:, 0] - t).square().mean())(
        torch.zeros(2, 1), torch.tensor([-1, 1])
    ).tolist() == [
        1,
        1,
    ]


def test_a_loader_gives_what_its_tensors_give_and_leaves_the_generator():
    net, (inputs, targets) = network(), data()
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=4, shuffle=True)
    row = assert_leaves_no_trace(lambda: measure(net, F.cross_entropy, loader, metrics=EXACT), net)
    assert row["lambda_max"] == pytest.approx(measure(net, F.cross_entropy, inputs, targets, EXACT)["lambda_max"])


@pytest.mark.parametrize("batch_norm", ["running", "batch", "recalibrated"])
@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_left_behind(batch_norm, training):
    net = network().train(training)
    net[0].weight.grad = torch.ones_like(net[0].weight)
    assert_leaves_no_trace(
        lambda: measure(net, F.cross_entropy, *data(), ["lambda_max", "keskar(p=5)"], batch_norm=batch_norm), net
    )


@pytest.mark.parametrize("batch_norm", ["running", "batch", "recalibrated"])
def test_nothing_is_left_behind_by_a_loss_that_raises_in_the_middle(batch_norm):
    net, calls = network(), []

    def fails_later(outputs, targets):
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return F.cross_entropy(outputs, targets, reduction="none")

    with pytest.raises(KeyboardInterrupt):
        assert_leaves_no_trace(lambda: measure(net, fails_later, *data(), chunk=5, batch_norm=batch_norm), net)


def test_recalibrated_is_batch_mode_s_value_in_one_chunk_but_the_hessian_with_statistics_held():
    net, (inputs, targets) = network(), data(12)
    row = measure(net, F.cross_entropy, inputs, targets, EXACT, batch_norm="recalibrated")
    assert row["lambda_max.batch_norm"] == "recalibrated"
    hidden = inputs @ net[0].weight.T + net[0].bias
    own = network()
    own[1].running_mean, own[1].running_var = hidden.detach().mean(0), hidden.detach().var(0)
    assert row["lambda_max"] == pytest.approx(dense_lambda_max(own, inputs, targets), rel=1e-8)
    parts = measure(net, F.cross_entropy, inputs, targets, EXACT, batch_norm="recalibrated", chunk=6)
    mean_of_variances = torch.stack([part.detach().var(0) for part in hidden.split(6)]).mean(0)
    own[1].running_var = mean_of_variances
    assert parts["lambda_max"] == pytest.approx(dense_lambda_max(own, inputs, targets), rel=1e-8)


def test_float64_on_a_float32_network_and_weights_on_examples():
    net, (inputs, targets) = network(), data()
    single = network().float()
    row = measure(single, F.cross_entropy, inputs.float(), targets, EXACT, dtype=torch.float64)
    assert row["lambda_max.dtype"] == "float64"
    assert row["lambda_max"] == pytest.approx(dense_lambda_max(net, inputs, targets), rel=1e-5)
    counts = torch.tensor([1, 2, 0, 3, 1, 1, 1, 1, 1, 1])
    again = torch.arange(10).repeat_interleave(counts)
    twice = measure(net, F.cross_entropy, inputs[again], targets[again], EXACT)
    for chunk in (None, 3):
        weighted = measure(net, F.cross_entropy, inputs, targets, EXACT, weights=counts.double(), chunk=chunk)
        assert weighted["lambda_max"] == pytest.approx(twice["lambda_max"], rel=1e-8)
        assert weighted["lambda_max.loss"] == pytest.approx(twice["lambda_max.loss"], rel=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_network_that_diverged_gives_null_with_the_reason(bad):
    net = network()
    with torch.no_grad():
        net[0].weight[0, 0] = bad
    row = measure(net, F.cross_entropy, *data(), ["lambda_max", "adaptive_sharpness"])
    assert row["lambda_max"] is row["adaptive_sharpness"] is None
    assert row["lambda_max.reason"] == row["adaptive_sharpness.reason"] == "the weights are not finite"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ["lambda_mx"]}, "no metric 'lambda_mx'; did you mean 'lambda_max'"),
        ({"metrics": ["lambda_max", "lambda_max(tolerance=0.1)"]}, "lambda_max is given twice"),
        ({"metrics": ["lambda_max(tolerence=1)"]}, "no setting 'tolerence'; did you mean 'tolerance'"),
        ({"metrics": ["lambda_max(open('x'))"]}, r"write NAME or NAME\(setting=value"),
        ({"metrics": ["lambda_max(tolerance=7)"]}, "between 0 and 1"),
        ({"metrics": []}, "no metric is given; known: .*lambda_max"),
        ({"metrics": [LambdaMax]}, "an instance"),
        ({"metrics": 3}, "names or instances"),
        ({"inputs": []}, "empty"),
        ({"inputs": [torch.zeros(3)]}, "pairs of tensors"),
        ({"inputs": torch.zeros(3, 6)}, "no targets"),
        ({"inputs": [1, 2], "targets": [1, 2]}, "list and list"),
    ],
)
def test_requests_that_cannot_be_met_say_why(change, message):
    given = {"inputs": data()[0], "targets": data()[1], "metrics": ["lambda_max"]}
    given = (given | {"targets": None} if "inputs" in change else given) | change
    with pytest.raises(RequestError, match=message):
        measure(network(), F.cross_entropy, **given)


def test_all_mistakes_in_the_metrics_are_said_at_once():
    with pytest.raises(RequestError) as caught:
        as_metrics(["lambda_mx", "kesker", "lambda_max(nothing=1)"])
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": nn.Flatten()}, "no trainable parameter"),
        ({"inputs": torch.zeros(0, 6), "targets": torch.zeros(0)}, "0 inputs and 0 targets"),
        (
            {"inputs": torch.zeros(1, 6), "targets": torch.zeros(1).long(), "batch_norm": "batch"},
            "chunk of one example",
        ),
        ({"batch_norm": "recalibrated", "chunk": 3}, "chunk of one example"),
        ({"weights": torch.ones(9)}, "one for each of the 10"),
        ({"weights": -torch.ones(10)}, "none negative"),
        ({"weights": torch.zeros(10)}, "not all 0"),
    ],
)
def test_what_the_surface_refuses(change, message):
    given = {"model": network(), "inputs": data()[0], "targets": data()[1]} | change
    with pytest.raises(RequestError, match=message):
        measure(given.pop("model"), F.cross_entropy, **given)


def test_every_metric_is_found_by_its_name():
    assert {"lambda_max", "keskar", "adaptive_sharpness"} <= metric_kinds().keys()
    for name, kind in metric_kinds().items():
        assert as_metrics(name) == (kind(),)
    assert as_metrics(["lambda_max( tolerance = 1e-4, max_hvps=5)"]) == (LambdaMax(tolerance=1e-4, max_hvps=5),)
