"""The spaces of all remedies: complete, with every reference that a comparison needs, and possible on their data."""

from __future__ import annotations

import pytest

from search_spaces import remedies, remedies_mnist
from tests.trainings import remedy_classes
from tune_lb.budgets import Updates
from tune_lb.cli.train import middle
from tune_lb.optimizers.lamb import LAMB
from tune_lb.optimizers.lars import LARS
from tune_lb.optimizers.muon import Muon
from tune_lb.schedules import Cyclical, Trapezoid
from tune_lb.space.checks import checked_designs
from tune_lb.training.data_checks import check_against_data

SPACES = {"remedies": remedies.SPACE, "remedies_mnist": remedies_mnist.SPACE}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_remedy_has_an_arm_of_its_own(space):
    alone = {type(arm.remedies[0]) for arm in space.arms if len(arm.remedies) == 1}
    assert alone == set(remedy_classes())
    assert {type(arm.settings["optimizer"]) for arm in space.arms if "optimizer" in arm.settings} == {LARS, LAMB, Muon}
    assert any(isinstance(arm.settings.get("budget"), Updates) for arm in space.arms)
    schedules = {type(arm.settings["schedule"]) for arm in space.arms if "schedule" in arm.settings}
    assert schedules >= ({Trapezoid, Cyclical} if space is remedies.SPACE else {Trapezoid})


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_references_copied_scaled_placebo_and_for_every_cost_one_of_the_same_compute(space):
    designs = {design.name: design for design in checked_designs(space)}
    roles = [design.role for design in designs.values()]
    assert [roles.count(role) for role in ("baseline", "reference", "copied", "scaled", "placebo")] == [1] * 5
    reference = designs[space.reference].template
    for design in designs.values():
        cost = design.template.evaluations_per_update
        assert (design.matched_by is not None) == (design.role == "arm" and cost > 1)
        if design.matched_by is not None:
            matched = designs[design.matched_by].template
            assert matched.budget.epochs == pytest.approx(cost * reference.budget.epochs)
            assert (matched.remedies, matched.batch_size) == (reference.remedies, reference.batch_size)
    assert designs["sam"].matched_by == f"{space.reference}_2x_epochs"


@pytest.mark.slow
def test_every_arm_fits_the_digits_at_the_ends_of_its_ranges():
    data = remedies.SPACE.data.load(0)
    for design in checked_designs(remedies.SPACE):
        lists = {name: domain.to_check() for name, domain in design.dimensions.items()}
        for end in range(max(map(len, lists.values()), default=1)):
            values = {name: ends[min(end, len(ends) - 1)] for name, ends in lists.items()}
            assert check_against_data(design.template.resolved(values), data) == []
        assert check_against_data(middle(design)[0], data) == []
