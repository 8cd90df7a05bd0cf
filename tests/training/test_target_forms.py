"""Targets of any shape: sequences with ignored tokens, several labels, real numbers; each trained as an ordinary loop trains it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tune_lb.budgets import Epochs
from tune_lb.data.dataset import DataSet, DataSource, Part
from tune_lb.data.device import on_device
from tune_lb.losses import binary_cross_entropy, cross_entropy, mean_squared
from tune_lb.metrics import LambdaMax
from tune_lb.observation.outcome import outcomes
from tune_lb.optimizers import SGD
from tune_lb.prediction_errors import PerToken
from tune_lb.remedies import SAM
from tune_lb.schedules import Constant
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.loss_forms import TorchLoss, as_loss, example_loss, loss_form_problems
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial

N, T, K, F_ = 48, 6, 3, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, F_)).astype(np.float32)
SEQUENCE = RNG.normal(size=(N, T, F_)).astype(np.float32)
REAL = (X @ RNG.normal(size=(F_, 2)) + 0.1 * RNG.normal(size=(N, 2))).astype(np.float32)
LABELS = (REAL > 0).astype(np.float32)
TAGS = SEQUENCE.argmax(-1) % K
TAGS[:, T - 2 :] = np.where(RNG.random((N, 2)) < 0.5, -100, TAGS[:, T - 2 :])


@dataclass(frozen=True)
class Data(DataSource):
    kind: str = "real"

    def load(self, split_seed: int) -> DataSet:
        inputs, targets, outputs = {
            "real": (X, REAL, 2),
            "one real": (X, REAL[:, 0].copy(), 1),
            "labels": (X, LABELS, 2),
            "tags": (SEQUENCE, TAGS, K),
            "padded with -1": (SEQUENCE, np.where(TAGS < 0, -1, TAGS), K),
            "classes": (X, TAGS[:, 0].copy(), K),
        }[self.kind]
        return DataSet("data", outputs, *[Part(inputs, targets)] * 3)


@dataclass(frozen=True)
class Model:
    second: bool = False

    def __call__(self, input_shape: Any, num_classes: int) -> nn.Module:
        layers: list[nn.Module] = [nn.Linear(F_, 8), nn.Tanh(), nn.Linear(8, num_classes)]
        return nn.Sequential(*layers, *([Second()] if self.second else []))


class Second(nn.Module):
    """Puts the classes second, as torch's cross entropy has them."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(-1, 1)


def trial(kind: str, loss: Any, error: Any = None, model: Any = Model(), remedies: Any = ()) -> Trial:
    own = {"batch_size": 16, "lr": 0.1, "remedies": remedies, "error": error}
    return Trial("a", Data(kind), model, SGD(), Constant(), Epochs(3.0), loss, **own)


def by_tokens(outputs: Tensor, targets: Tensor) -> Tensor:
    losses = F.cross_entropy(outputs.movedim(-1, 1), targets, reduction="none")
    return (losses.sum(1) / (targets != -100).sum(1)).mean()


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs.reshape(targets.shape), targets)


CASES: dict[str, tuple[Trial, Any]] = {
    "real": (trial("real", mean_squared, "mean_squared"), mse),
    "real, torch's module": (trial("real", nn.MSELoss(), "mean_absolute"), mse),
    "real, torch's function": (trial("real", F.mse_loss, "mean_squared"), mse),
    "one real": (trial("one real", mean_squared, "mean_squared"), mse),
    "real, smooth": (
        trial("real", nn.SmoothL1Loss(beta=0.5), "mean_squared"),
        functools.partial(F.smooth_l1_loss, beta=0.5),
    ),
    "labels": (trial("labels", binary_cross_entropy, "hamming"), F.binary_cross_entropy_with_logits),
    "labels, torch's module": (trial("labels", nn.BCEWithLogitsLoss(), "hamming"), F.binary_cross_entropy_with_logits),
    "tags": (trial("tags", cross_entropy), by_tokens),
    "classes, torch's module": (trial("classes", nn.CrossEntropyLoss()), F.cross_entropy),
    "classes, none": (trial("classes", nn.CrossEntropyLoss(reduction="none")), F.cross_entropy),
    "classes, smoothed": (
        trial("classes", nn.CrossEntropyLoss(label_smoothing=0.1)),
        functools.partial(F.cross_entropy, label_smoothing=0.1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_trained_as_by_an_ordinary_loop(name):
    of, loss = CASES[name]
    assert check_against_data(of, of.data.load(0)) == []
    parts = on_device(of.data.load(0), "cpu")
    training = Training(of, [0, 1], parts)
    module = of.network(parts.input_shape, parts.num_classes)
    module.load_state_dict({**training.networks.start(0)[0], **training.networks.start(0)[1]})
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=of.optimizer.effective_momentum())
    for step in range(training.plan.num_updates):
        batch = training.batches.batch(0, step)
        optimizer.zero_grad()
        loss(module(batch.inputs), batch.targets).backward()
        optimizer.step()
    for execution in ("alone", "together"):
        training = Training(of, [0, 1], parts, execution=execution)
        while not training.done:
            training.advance()
        member = next(iter(training.trained()))
        for place, value in module.named_parameters():
            torch.testing.assert_close(member.params[place], value.detach(), rtol=1e-4, atol=1e-5)
    row = outcomes(training, metrics=(LambdaMax(),), wall_s=0.0)[0].row
    with torch.no_grad():
        expected = float(loss(module(parts.train.standardized()), parts.train.targets))
    assert row["train_loss"] == pytest.approx(expected, rel=1e-3)
    assert row["lambda_max.reason"] is None


def test_errors_of_a_regression_and_a_tagger():
    of = trial("real", mean_squared, "mean_absolute")
    parts = on_device(of.data.load(0), "cpu")
    training = Training(of, [0], parts)
    while not training.done:
        training.advance()
    (found,) = outcomes(training, metrics=(), wall_s=0.0)
    assert found.predictions is None
    member = next(iter(training.trained()))
    outputs = torch.func.functional_call(
        training.evaluation_module, {**member.params, **member.buffers}, (torch.tensor(X),)
    )
    assert found.row["test_error"] == pytest.approx(float((outputs - torch.tensor(REAL)).abs().mean()), rel=1e-4)
    (history,) = [row.value for row in training.evaluate() if row.name == "train_error"]
    assert history == pytest.approx(found.row["train_error"])


def test_a_diverged_regression_counts_for_the_train_mean():
    of = trial("real", mean_squared, "mean_squared")
    parts = on_device(of.data.load(0), "cpu")
    wild = Trial(
        "a",
        of.data,
        of.model,
        SGD(),
        Constant(),
        Epochs(3.0),
        mean_squared,
        batch_size=16,
        lr=1e12,
        error="mean_squared",
    )
    training = Training(wild, [0], parts)
    while not training.done:
        training.advance()
    row = outcomes(training, metrics=(), wall_s=0.0)[0].row
    assert row["status"] == "diverged"
    assert row["test_error"] == pytest.approx(float(REAL.var(0).mean()), rel=1e-4)


def test_classes_second_as_torch_has_them_are_the_same():
    last = trial("tags", cross_entropy)
    for of in (
        trial("tags", cross_entropy, model=Model(second=True)),
        trial("tags", nn.CrossEntropyLoss(), model=Model(second=True)),
    ):
        assert check_against_data(of, of.data.load(0)) == []
        rows = []
        for each in (last, of):
            training = Training(each, [0], on_device(each.data.load(0), "cpu"))
            while not training.done:
                training.advance()
            rows.append(outcomes(training, metrics=(), wall_s=0.0)[0].row)
        for name in ("train_loss", "test_error"):
            assert rows[0][name] == pytest.approx(rows[1][name], rel=1e-4)


def test_pieces_of_sequences_are_the_whole():
    of = trial("tags", cross_entropy, remedies=(SAM(rho=0.05, m=4),))
    training = Training(of, [0], on_device(of.data.load(0), "cpu"))
    while not training.done:
        training.advance()
    assert np.isfinite(outcomes(training, metrics=(), wall_s=0.0)[0].row["train_loss"])


def across(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs - outputs.mean(0), targets, reduction="none")


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (trial("real", mean_squared), ["targets are real numbers", "error='mean_squared'"]),
        (trial("one real", F.mse_loss, "mean_squared"), ["loss mse_loss", "(4, 1)", "(4,)"]),
        (trial("one real", nn.MSELoss(), "mean_squared"), ["loss MSELoss", "(4, 1)", "(4,)"]),
        (trial("classes", across), ["loss across", "must not look across examples"]),
        (trial("classes", nn.CrossEntropyLoss(reduction="sum")), ["CrossEntropyLoss", "reduction='none'"]),
        (
            trial("classes", nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))),
            ["class weights", "nn.CrossEntropyLoss(weight=..., reduction='none')"],
        ),
        (trial("padded with -1", cross_entropy), ["targets of tokens are -1", "ignore_index=-1"]),
        (trial("tags", cross_entropy, "zero_one"), ["error is not defined", "per_token"]),
        (trial("classes", mean_squared), ["loss mean_squared", "outputs (4, 3)"]),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line(of, words):
    lines = check_against_data(of, of.data.load(0))
    assert len(lines) == 1
    assert all(word in lines[0] for word in words), lines


def test_another_padding_with_its_loss_and_error():
    loss = nn.CrossEntropyLoss(ignore_index=-1)
    of = trial("padded with -1", loss, PerToken(ignore_index=-1), Model(second=True))
    assert check_against_data(of, of.data.load(0)) == []


def test_torch_losses_are_values():
    weighted = as_loss(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]), reduction="none"))
    assert weighted == TorchLoss("CrossEntropyLoss", (("weight", (1.0, 2.0)),), "none")
    outputs, targets = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    expected = F.cross_entropy(outputs, targets, weight=torch.tensor([1.0, 2.0]), reduction="none")
    assert torch.equal(example_loss(weighted)(outputs, targets), expected)
    of = trial("classes", nn.CrossEntropyLoss(label_smoothing=0.1))
    assert of.problems() == []
    assert of.trial_id("x") != trial("classes", nn.CrossEntropyLoss()).trial_id("x")
    assert "CrossEntropyLoss" in of.columns()["loss"]


def test_an_own_mean_is_taken_apart_by_examples():
    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        return ((outputs - targets) ** 2).mean()

    outputs, targets = torch.randn(5, 2), torch.randn(5, 2)
    torch.testing.assert_close(example_loss(mean)(outputs, targets), ((outputs - targets) ** 2).mean(1))


def test_a_loss_that_is_a_class_is_told_to_be_an_instance() -> None:
    (problem,) = loss_form_problems(nn.CrossEntropyLoss, torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))
    assert problem.endswith("give an instance, CrossEntropyLoss()")
