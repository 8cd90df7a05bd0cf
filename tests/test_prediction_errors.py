"""A20: errors of predictions, each against its formula in NumPy, in parts as over the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tune_lb.prediction_errors import (
    NAMED,
    Balanced,
    Hamming,
    MeanAbsolute,
    MeanSquared,
    OfFunction,
    PerToken,
    TopK,
    ZeroOne,
    as_error,
    class_axis,
    error_for,
    error_problems,
)

STREAM = torch.Generator().manual_seed(0)
OUTPUTS = torch.randn(40, 5, generator=STREAM)
CLASSES = torch.cat([torch.zeros(30, dtype=torch.long), torch.arange(10) % 4])
REAL = torch.randn(40, 5, generator=STREAM)
LABELS = (torch.rand(40, 5, generator=STREAM) < 0.3).float()
SEQUENCES = torch.randn(8, 6, 5, generator=STREAM)
TOKENS = torch.randint(0, 5, (8, 6), generator=STREAM)
TOKENS[:, 4:] = -100


def balanced() -> float:
    predicted, true = OUTPUTS.argmax(1).numpy(), CLASSES.numpy()
    return float(np.mean([np.mean(predicted[true == k] != k) for k in np.unique(true)]))


def top_two() -> float:
    order = np.argsort(-OUTPUTS.numpy(), axis=1)[:, :2]
    return float(np.mean([true not in row for row, true in zip(order, CLASSES.numpy(), strict=True)]))


def per_token() -> float:
    predicted, true = SEQUENCES.argmax(-1).numpy(), TOKENS.numpy()
    return float(np.mean((predicted != true)[true != -100]))


def first_off(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs[:, 0] - targets[:, 0]).abs()


CASES = {
    "zero_one": (ZeroOne(), OUTPUTS, CLASSES, float((OUTPUTS.argmax(1) != CLASSES).float().mean())),
    "balanced": (Balanced(), OUTPUTS, CLASSES, balanced()),
    "top_2": (TopK(2), OUTPUTS, CLASSES, top_two()),
    "per_token": (PerToken(), SEQUENCES, TOKENS, per_token()),
    "per_token as torch has it": (PerToken(), SEQUENCES.movedim(-1, 1), TOKENS, per_token()),
    "mean_squared": (MeanSquared(), OUTPUTS, REAL, float(((OUTPUTS - REAL) ** 2).mean())),
    "mean_squared (B, 1)": (
        MeanSquared(),
        OUTPUTS[:, :1],
        REAL[:, 0],
        float(((OUTPUTS[:, 0] - REAL[:, 0]) ** 2).mean()),
    ),
    "mean_absolute": (MeanAbsolute(), OUTPUTS, REAL, float((OUTPUTS - REAL).abs().mean())),
    "hamming": (Hamming(), OUTPUTS, LABELS, float(((OUTPUTS > 0) != (LABELS > 0)).float().mean())),
    "function": (OfFunction(first_off), OUTPUTS, REAL, float((OUTPUTS[:, 0] - REAL[:, 0]).abs().mean())),
}


@pytest.mark.parametrize("name", CASES)
def test_an_error_is_its_formula_whole_and_in_parts(name):
    error, outputs, targets, expected = CASES[name]
    assert error.value(error.counts(outputs, targets)) == pytest.approx(expected, rel=1e-6)
    parts = [error.counts(outputs[i : i + 3], targets[i : i + 3]) for i in range(0, len(targets), 3)]
    assert error.value(torch.stack(parts).sum(0)) == pytest.approx(expected, rel=1e-6)


def test_the_majority_has_balanced_error_of_chance():
    outputs = torch.zeros(100, 2)
    outputs[:, 0] = 1.0
    targets = (torch.arange(100) >= 95).long()
    assert ZeroOne().value(ZeroOne().counts(outputs, targets)) == pytest.approx(0.05)
    assert Balanced().value(Balanced().counts(outputs, targets)) == pytest.approx(0.5)


def test_chance_is_guessing_or_the_best_constant():
    assert ZeroOne().chance(CLASSES, CLASSES, 5) == Balanced().chance(CLASSES, CLASSES, 5) == 1 - 1 / 5
    assert TopK(2).chance(CLASSES, CLASSES, 5) == pytest.approx(3 / 5)
    assert MeanSquared().chance(REAL, REAL, 5) == pytest.approx(float(REAL.var(0, unbiased=False).mean()), rel=1e-5)
    median = REAL.double().median(0).values
    assert MeanAbsolute().chance(REAL, REAL, 5) == pytest.approx(float((REAL - median).abs().mean()), rel=1e-5)
    rarer = torch.minimum(LABELS.mean(0), 1 - LABELS.mean(0)).mean()
    assert Hamming().chance(LABELS, LABELS, 5) == pytest.approx(float(rarer), abs=1e-6)
    zero = first_off(torch.zeros_like(REAL), REAL).mean()
    assert OfFunction(first_off).chance(REAL, REAL, 5) == pytest.approx(float(zero), rel=1e-5)


def test_names_and_functions_are_errors():
    assert as_error("balanced") == Balanced()
    assert as_error("top_5") == as_error("top5") == TopK(5)
    assert as_error(first_off) == OfFunction(first_off)
    assert as_error("balnced") == "balnced"
    assert all(as_error(name) is own for name, own in NAMED.items())


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (None, "real", ["targets are real numbers", "error='mean_squared'", "'hamming'"]),
        ("balnced", "classes", ["'balnced' is no error", "did you mean 'balanced'?"]),
        (Balanced(), "real", ["balanced error is not defined", "mean_squared"]),
        (MeanSquared(), "classes", ["mean squared error is not defined", "zero_one, balanced"]),
        (ZeroOne(), "tokens", ["not defined for targets that are a class of each token", "per_token"]),
    ],
)
def test_what_does_not_go_with_the_targets_is_refused_with_what_does(given, kind, words):
    (line,) = error_problems(given, kind, "error")
    assert all(word in line for word in words)


def test_the_usual_error_follows_from_the_targets():
    assert error_for(None, CLASSES) == ZeroOne()
    assert error_for(None, TOKENS) == PerToken()
    assert error_problems(None, "classes", "error") == error_problems(None, "tokens", "error") == []


def test_which_axis_holds_the_classes_is_refused_where_it_cannot_be_told():
    with pytest.raises(ValueError, match="cannot be told"):
        class_axis(torch.zeros(2, 5, 5), torch.zeros(2, 5))
    with pytest.raises(ValueError, match="one axis more"):
        class_axis(torch.zeros(2, 4, 5), torch.zeros(2, 6))
    assert class_axis(torch.zeros(2, 6, 5), torch.zeros(2, 6)) == -1
    assert class_axis(torch.zeros(2, 5, 6), torch.zeros(2, 6)) == 1


def test_a_function_must_give_one_value_per_example():
    with pytest.raises(ValueError, match=r"must return one value per example, \(40,\); it returns shape \(\)"):
        OfFunction(torch.nn.functional.mse_loss).counts(OUTPUTS, REAL)
