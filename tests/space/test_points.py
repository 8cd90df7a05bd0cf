"""Points of the user's own: tried first, by every arm that has their dimensions."""

from __future__ import annotations

import pytest

from tests.space.test_space import space
from tune_lb.models import MLP
from tune_lb.remedies import SAM
from tune_lb.search.proposers import proposers
from tune_lb.settings.domain import over
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs, space_problems
from tune_lb.space.description import description, space_hash

ARMS = (Arm("small", batch_size=4), Arm("large"), Arm("sharp", SAM(rho=over(0.1, 0.5))))
POINTS = ({"eta_over_b": 0.02}, {"eta_over_b": 0.03, "sam.rho": 0.2}, {"arm": "large", "eta_over_b": 0.05})


def proposals(of, num=4):
    return {name: [p.propose(i, ()) for i in range(num)] for name, p in proposers(of, checked_designs(of)).items()}


def test_given_points_come_first_and_the_others_are_what_they_were():
    before, found = (proposals(space(*ARMS, num_samples=4, points=points)) for points in ((), POINTS))
    rates = {name: [values["eta_over_b"] for values in own] for name, own in found.items()}
    assert rates["small"][:2] == rates["sharp"][:2] == [0.02, 0.03]
    assert rates["large"][:3] == rates["large_2x_epochs"][:3] == rates["placebo"][:3] == [0.02, 0.03, 0.05]
    assert [values["sam.rho"] for values in found["sharp"]] == [
        before["sharp"][0]["sam.rho"],
        0.2,
        *(values["sam.rho"] for values in before["sharp"][2:]),
    ]
    assert found["small"][2:] == before["small"][2:]
    assert found["large"][3:] == before["large"][3:]


def test_what_is_taken_from_other_arms_comes_before():
    of = space(*ARMS, Arm("both", SAM(rho=over(0.1, 0.5)), combines=("sharp",)), num_samples=4, points=POINTS[:1])
    found = proposals(of)["both"]
    assert found[1]["eta_over_b"] == 0.02
    assert found[2] == proposals(space(*of.arms, num_samples=4))["both"][2]


@pytest.mark.parametrize("sampler", ["sobol", "tpe"])
def test_a_value_of_a_list_may_be_given_by_its_text(sampler):
    models = [MLP(hidden=(6,)), MLP(hidden=(9,))]
    of = space(*ARMS[:2], model=over(models), sampler=sampler, points=({"model": "MLP(hidden=(9,))"},))
    found = proposals(of, 1)
    assert all(found[name][0]["model"] == models[1] for name in ("small", "large", "placebo"))


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ({"eta_over_b": 3.0}, "space.points[0]: eta_over_b = 3.0 is outside of 0.001 .. 0.1 (log) (arm 'small')"),
        ({"rho": 0.2}, "space.points[0]: no arm searches 'rho'"),
        ({"arm": "small", "sam.rho": 0.2}, "space.points[0]: arm 'small' does not search 'sam.rho'"),
        ({"arm": "smal", "eta_over_b": 0.01}, "space.points[0]: there is no arm 'smal'; did you mean 'small'?"),
    ],
)
def test_a_point_that_no_arm_can_try_is_refused_in_a_line(point, said):
    assert any(line.startswith(said) for line in space_problems(space(*ARMS, points=(point,))))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"points": ((0.1, 0.2),)}, "space.points: a tuple of configurations is needed"),
        ({"points": POINTS, "num_samples": 2}, "space.points: an arm has 3 of them, and num_samples = 2"),
        ({"points": POINTS[:1], "sampler": "grid", "eta_over_b": over([0.02, 0.1])}, "a grid tries every combination"),
    ],
)
def test_points_that_cannot_be_are_refused_in_a_line(settings, said):
    arms = ARMS[:2] if "sampler" in settings else ARMS
    assert any(said in line for line in space_problems(space(*arms, **settings)))


def test_points_are_part_of_what_a_run_is_where_there_are_any():
    assert "points" not in description(space())
    assert space_hash(space(points=POINTS[:1])) != space_hash(space())
