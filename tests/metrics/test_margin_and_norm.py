from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from tests.metrics.cases import data, network, quadratic, surface
from tune_lb.metrics.margin import Margin, margins, normalised_margins
from tune_lb.metrics.parameter_norm import ParameterNorm


def test_margins_by_hand():
    outputs = torch.tensor([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0], [2.0, 2.0, 2.0], [0.0, 0.0, 5.0]])
    targets = torch.tensor([0, 1, 0, 2])
    assert margins(outputs, targets).tolist() == [2, -2, 0, 5]
    spread = math.sqrt((3 - 4 / 3) ** 2 + (1 - 4 / 3) ** 2 + (4 / 3) ** 2)
    expected = [2 / spread, -2 / spread, 0, math.sqrt(3 / 2)]
    assert normalised_margins(outputs, targets).tolist() == pytest.approx(expected, rel=1e-6)


def test_zero_weights_have_no_margin_and_are_all_ties():
    model = nn.Linear(6, 3).double()
    nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
    row = Margin().measure(surface(model, *data(9)), 0)
    assert row["margin"] == row["margin.unnormalised"] == row["margin.minimum"] == 0
    assert row["margin.not_positive"] == 1


def test_scaling_the_outputs_moves_the_unnormalised_margin_alone():
    model, (inputs, targets) = nn.Linear(6, 3).double(), data(30)
    rows = []
    for _ in range(2):
        rows.append(Margin().measure(surface(model, inputs, targets, chunk=7), 0))
        with torch.no_grad():
            model.weight.mul_(4), model.bias.mul_(4)
    for what in ("", ".mean", ".median", ".minimum", ".not_positive"):
        assert rows[1][f"margin{what}"] == pytest.approx(rows[0][f"margin{what}"], rel=1e-12)
    assert rows[1]["margin.unnormalised"] == pytest.approx(4 * rows[0]["margin.unnormalised"], rel=1e-12)
    errors = model(inputs).argmax(1) != targets
    assert rows[0]["margin.not_positive"] == pytest.approx(float(errors.double().mean()))


def test_quantiles_are_those_of_all_examples_in_any_chunks():
    inputs, targets = data(31)
    net = network().eval()
    m = normalised_margins(net(inputs).detach(), targets)
    for chunk in (None, 4):
        row = Margin().measure(surface(net, inputs, targets, chunk=chunk), 0)
        assert row["margin"] == pytest.approx(float(m.quantile(0.1)), rel=1e-12)
        assert row["margin.minimum"] == pytest.approx(float(m.min()), rel=1e-12)
        assert row["margin.median"] == pytest.approx(float(m.sort().values[15]), rel=1e-12)


def test_outputs_that_are_no_scores_give_null_with_the_reason():
    row = Margin().measure(quadratic(torch.eye(2)), 0)
    assert row["margin"] is None
    assert "scores (B, K)" in row["margin.reason"]


def test_the_mode_is_put_back_where_the_outputs_have_no_margin():
    f = quadratic(torch.eye(2))
    f._module.train()
    Margin().measure(f, 0)
    assert f._module.training


def test_norms():
    f = quadratic(torch.eye(3), w=torch.tensor([2.0, -3.0, 6.0]))
    row = ParameterNorm(layers=True).measure(f, 0)
    assert row["parameter_norm"] == pytest.approx(7)
    assert (row["parameter_norm.largest"], row["parameter_norm.num_parameters"]) == (6, 3)
    assert json.loads(row["parameter_norm.layers"]) == {"weight": pytest.approx(7)}
    assert row.keys() == ParameterNorm(layers=True).columns().keys()
    assert "parameter_norm.layers" not in ParameterNorm().measure(f, 0)
