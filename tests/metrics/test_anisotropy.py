from __future__ import annotations

import math

import pytest
import torch

from tests.metrics.cases import quadratic
from tune_lb.errors import RequestError
from tune_lb.metrics.anisotropy import Anisotropy


def test_a_linear_loss_in_one_coordinate_rises_along_half_of_the_corners_and_in_many_along_few():
    # f = b^T w at w = 0: a corner rises by eps sum b_i s_i, the highest by eps sum |b_i|
    one = torch.tensor([3.0, 0, 0, 0]).double()
    row = Anisotropy(num_directions=400).measure(quadratic(torch.zeros(4, 4).double(), b=one, c=5.0), 0)
    assert row["anisotropy"] == pytest.approx(0.5, abs=4 * 0.5 / 20)
    assert row["anisotropy.phi"] == pytest.approx(100 * 3e-3 / 6, rel=1e-9)
    # equal slopes in n: the rise is a sum of n signs over n, above 0.1 with probability P(normal > 0.1 sqrt(n))
    n = 400
    many = quadratic(torch.zeros(n, n).double(), b=torch.ones(n).double(), c=500.0)
    row = Anisotropy(num_directions=400).measure(many, 0)
    assert row["anisotropy"] == pytest.approx(0.5 * math.erfc(0.1 * math.sqrt(n) / math.sqrt(2)), abs=0.02)
    assert abs(row["anisotropy.mean_rise"]) < 4 / math.sqrt(n * 400)


def test_a_bowl_rises_alike_along_all_corners():
    row = Anisotropy(share=0.9).measure(quadratic(torch.eye(6).double(), b=torch.full((6,), 1e-6).double()), 0)
    assert row["anisotropy"] == 1


def test_no_rise_gives_null_with_the_reason():
    row = Anisotropy().measure(quadratic(-torch.eye(4).double(), c=1.0), 0)
    assert (row["anisotropy"], row["anisotropy.reason"]) == (None, "the loss rises nowhere in the box")
    assert Anisotropy().measure(quadratic(torch.eye(2), c=-1.0), 0)["anisotropy.reason"].endswith("losses above -1")


@pytest.mark.parametrize("fields", [{"eps": 0}, {"share": 1.0}, {"num_directions": 0}])
def test_settings_without_meaning_are_refused(fields):
    with pytest.raises(RequestError, match="anisotropy"):
        Anisotropy(**fields)
