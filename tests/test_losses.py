"""Losses: formulas by hand and against torch, under vmap, as dimensions; what is no loss is refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.trainings import named, same_bits, same_up_to_rounding, trajectory, trial
from tune_lb.losses import (
    LabelSmoothedCrossEntropy,
    cross_entropy,
    label_smoothed_cross_entropy,
    squared_error,
    uniform_cross_entropy,
)
from tune_lb.training.data_checks import check_against_data

OUTPUTS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
TARGETS = torch.tensor([0, 3, 1, 1, 2, 0])


def summed(outputs, targets):
    return F.cross_entropy(outputs, targets, reduction="sum")


def of_each_class(outputs, targets):
    return outputs - 1.0


def backwards(outputs, targets):
    return F.cross_entropy(targets, outputs, reduction="none")


def wrong_class(outputs, targets):
    return outputs.argmax(-1) != targets


def in_a_list(outputs, targets):
    return [0.0] * len(outputs)


def test_cross_entropy_by_hand():
    expected = [-torch.log(row.exp()[y] / row.exp().sum()) for row, y in zip(OUTPUTS, TARGETS, strict=True)]
    torch.testing.assert_close(cross_entropy(OUTPUTS, TARGETS), torch.stack(expected))
    uniform = [-sum(torch.log(row.exp()[k] / row.exp().sum()) for k in range(4)) / 4 for row in OUTPUTS]
    torch.testing.assert_close(uniform_cross_entropy(OUTPUTS), torch.stack(uniform))


def test_squared_error_by_hand():
    expected = [
        sum((float(row[k]) - (1.0 if k == y else 0.0)) ** 2 for k in range(4)) / 4
        for row, y in zip(OUTPUTS, TARGETS.tolist(), strict=True)
    ]
    torch.testing.assert_close(squared_error(OUTPUTS, TARGETS), torch.tensor(expected, dtype=torch.float64))
    mean = F.mse_loss(OUTPUTS, F.one_hot(TARGETS, 4).double())
    torch.testing.assert_close(squared_error(OUTPUTS, TARGETS).mean(), mean)
    assert squared_error(F.one_hot(TARGETS, 4).double(), TARGETS).abs().max() == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_smoothed_cross_entropy_as_torch_has_it(smoothing):
    expected = F.cross_entropy(OUTPUTS, TARGETS, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(LabelSmoothedCrossEntropy(smoothing)(OUTPUTS, TARGETS), expected)
    as_tensor = torch.tensor(smoothing, dtype=torch.float64)
    torch.testing.assert_close(label_smoothed_cross_entropy(OUTPUTS, TARGETS, as_tensor), expected)
    soft = torch.full((6, 4), smoothing / 4).double()
    soft[torch.arange(6), TARGETS] += 1 - smoothing
    torch.testing.assert_close(expected, -(soft * OUTPUTS.log_softmax(-1)).sum(-1))


def test_without_smoothing_it_is_cross_entropy_to_the_last_bit():
    assert torch.equal(LabelSmoothedCrossEntropy(0.0)(OUTPUTS, TARGETS), cross_entropy(OUTPUTS, TARGETS))
    assert same_bits(trajectory(trial()), trajectory(trial(loss=LabelSmoothedCrossEntropy(0.0))))


@pytest.mark.parametrize("loss", [cross_entropy, squared_error, LabelSmoothedCrossEntropy(0.2)], ids=named)
def test_trains_alone_and_together(loss):
    of = trial(loss=loss)
    alone, together = trajectory(of, (0, 1)), trajectory(of, (0, 1), "together")
    assert same_up_to_rounding(alone, together)
    assert check_against_data(of, of.data.load(0)) == []
    if loss is not cross_entropy:
        assert (alone[0] - trajectory(trial())[0]).abs().max() > 1e-3


def detached(outputs, targets):
    return F.cross_entropy(outputs.detach(), targets, reduction="none")


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (summed, ["loss summed", "for 4 examples", "reduction='none'"]),
        (of_each_class, ["loss of_each_class", "returns shape (4, 3)"]),
        (backwards, ["loss backwards", "cannot be called with outputs (4, 3) and targets (4,)"]),
        (wrong_class, ["loss wrong_class", "torch.bool, which has no gradient"]),
        (in_a_list, ["loss in_a_list", "returns list"]),
        (detached, ["loss detached", "no gradient in the outputs"]),
    ],
)
def test_what_is_no_loss_of_single_examples_is_refused(loss, words):
    of = trial(loss=loss)
    (line,) = check_against_data(of, of.data.load(0))
    assert all(word in line for word in words)


def test_smoothing_is_a_dimension_with_a_range():
    assert LabelSmoothedCrossEntropy(1.0).problems("loss") == ["loss.smoothing = 1.0: must be below 1"]
    of = trial(loss=LabelSmoothedCrossEntropy(**LabelSmoothedCrossEntropy.suggested()))
    assert of.dimensions().keys() == {"loss.smoothing"}
    assert of.problems() == []
    row = of.resolved({"loss.smoothing": 0.2}).columns()
    assert row["loss.smoothing"] == 0.2
    assert row["loss"] == "LabelSmoothedCrossEntropy(smoothing=0.2)"
