"""Metrics on a GPU are those of the CPU. Marked `gpu`, see tests/training/test_on_gpu.py."""

from __future__ import annotations

import copy
import os

import pytest
import torch
from torch import nn

from tune_lb.metrics.adaptive_sharpness import AdaptiveSharpness
from tune_lb.metrics.keskar import Keskar, label
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.measuring import measure

pytestmark = pytest.mark.gpu

DEVICE = os.environ.get("TUNE_LB_TEST_DEVICE", "cuda")


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)
    return nn.Sequential(*layers).double().eval(), torch.randn(40, 1, 6, 6).double(), torch.arange(40) % 3


@pytest.mark.parametrize(
    ("metric", "column", "tolerance"),
    [(LambdaMax(), "lambda_max", 1e-3), (Keskar(spaces=("full",)), f"keskar.full_{label(1e-3)}", 1e-4)],
    ids=["lambda_max", "keskar"],
)
def test_a_metric_is_that_of_the_cpu(network, metric, column, tolerance):
    module, inputs, targets = network
    expected = measure(copy.deepcopy(module), nn.CrossEntropyLoss(), inputs, targets, metric)
    found = measure(module.to(DEVICE), nn.CrossEntropyLoss(), inputs.to(DEVICE), targets.to(DEVICE), metric)
    assert found[column] == pytest.approx(expected[column], rel=tolerance)


def test_a_metric_with_a_search_of_its_own_runs(network):
    module, inputs, targets = network
    row = measure(module.to(DEVICE), nn.CrossEntropyLoss(), inputs.to(DEVICE), targets.to(DEVICE), AdaptiveSharpness())
    assert all(value is not None for name, value in row.items() if not name.endswith("reason"))


def test_lambda_max_of_a_quadratic_is_its_eigenvalue():
    # mean_i (w . x_i)^2 / 2 has the Hessian X' X / n
    torch.manual_seed(0)
    inputs = torch.randn(50, 6, dtype=torch.float64)
    module = nn.Linear(6, 1, bias=False).double()

    def loss(outputs, targets):
        return outputs[:, 0].square() / 2

    row = measure(module.to(DEVICE), loss, inputs.to(DEVICE), torch.zeros(50, device=DEVICE), LambdaMax())
    assert row["lambda_max"] == pytest.approx(float(torch.linalg.eigvalsh(inputs.T @ inputs / 50)[-1]), rel=1e-3)
