"""Metrics in train mode and on cross entropy, against the dense Hessian of the loss that they are of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.trainings import flat, trial
from tests.trainings import training as start_training
from tune_lb.losses import cross_entropy
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.measuring import main_values, measure
from tune_lb.metrics.trace import Trace
from tune_lb.observation.metric_variants import InTrainMode, OnCrossEntropy
from tune_lb.observation.observer import Observer
from tune_lb.space.observation import Watch

TIGHT = LambdaMax(tolerance=1e-6)


def network(batch_norm=True):
    torch.manual_seed(3)
    middle = [nn.BatchNorm1d(4)] if batch_norm else []
    return nn.Sequential(nn.Linear(3, 4), *middle, nn.Tanh(), nn.Linear(4, 3)).double()


def data(n=20):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(0)).double(), torch.arange(n) % 3


def squared(outputs, targets):
    return (outputs - torch.eye(3).double()[targets]).square().sum(-1)


def dense_top(module, loss, chunks, train):
    """Return the largest eigenvalue of the dense Hessian of the mean over chunks, batch norm in train mode or not."""
    module = module.train(train)
    params = {name: value.detach() for name, value in module.named_parameters()}
    names, sizes = list(params), [value.numel() for value in params.values()]

    def mean(vector):
        own = {n: part.view_as(params[n]) for n, part in zip(names, vector.split(sizes), strict=True)}
        buffers = {n: b.clone() for n, b in module.named_buffers()}
        losses = [loss(torch.func.functional_call(module, own | buffers, (x,)), y) for x, y in chunks]
        return torch.cat(losses).mean()

    return torch.linalg.eigvalsh(torch.autograd.functional.hessian(mean, flat(params)))[-1].item()


@pytest.mark.parametrize("batch_size", [None, 5])
def test_lambda_max_in_train_mode(batch_size):
    module, (x, y) = network(), data()
    chunks = [(x, y)] if batch_size is None else list(zip(x.split(5), y.split(5), strict=True))
    row = measure(module, cross_entropy, x, y, (InTrainMode(TIGHT, batch_size=batch_size), TIGHT))
    assert row["train_mode_lambda_max"] == pytest.approx(dense_top(module, cross_entropy, chunks, True), rel=1e-5)
    assert (row["train_mode_lambda_max.batch_norm"], row["train_mode_lambda_max.chunk"]) == ("batch", batch_size or 20)
    assert row["lambda_max.batch_norm"] != "batch"
    assert row["lambda_max"] != pytest.approx(row["train_mode_lambda_max"], rel=1e-2)


def test_lambda_max_of_cross_entropy_where_something_else_was_trained_on():
    module, (x, y) = network(batch_norm=False), data()
    row = measure(module, squared, x, y, (OnCrossEntropy(TIGHT), TIGHT))
    assert row["cross_entropy_lambda_max"] == pytest.approx(dense_top(module, cross_entropy, [(x, y)], False), rel=1e-5)
    assert row["lambda_max"] == pytest.approx(dense_top(module, squared, [(x, y)], False), rel=1e-5)
    same = measure(module, cross_entropy, x, y, (OnCrossEntropy(TIGHT), TIGHT))
    assert same["cross_entropy_lambda_max"] == pytest.approx(same["lambda_max"], rel=1e-9)


def test_without_classes_there_is_a_reason():
    module, (x, _) = network(batch_norm=False), data()
    row = measure(module, lambda outputs, targets: (outputs - targets).square().sum(-1), x, x, OnCrossEntropy(Trace()))
    assert "targets that are classes" in row["cross_entropy_trace.reason"]
    assert row["cross_entropy_trace"] is None


def test_columns_are_those_that_are_returned_and_main_values_are_found():
    module, (x, y) = network(), data()
    for metric in (InTrainMode(Trace()), OnCrossEntropy(LambdaMax()), OnCrossEntropy(InTrainMode(LambdaMax()))):
        row = measure(module, cross_entropy, x, y, metric)
        assert row.keys() >= metric.columns().keys()
        assert list(main_values(metric, row)) == [metric.name]


def test_a_watch_takes_them():
    running, rows = start_training(trial()), []
    observer = Observer(
        running, watched=True, watch=Watch(metrics=(InTrainMode(LambdaMax()), OnCrossEntropy(LambdaMax())))
    )
    while not running.done:
        rows += observer.advance()
    assert not observer.unobserved
    assert {"train_mode_lambda_max", "cross_entropy_lambda_max"} <= {row.name for row in rows}
