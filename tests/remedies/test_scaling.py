"""Scaling: the rate that is trained with, the columns that say so, and the arms that are given a rate themselves."""

from __future__ import annotations

import pytest

from tests.trainings import Blobs, history, same_bits, training, trajectory, trial
from tune_lb.models.mlp import MLP
from tune_lb.remedies.batch_growth import BatchGrowth
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.scaling import Scaling
from tune_lb.remedies.warmup import Warmup
from tune_lb.schedules import Constant
from tune_lb.search.candidates import SearchedArm
from tune_lb.search.data_facts import DataFacts
from tune_lb.search.planner import Search
from tune_lb.search.proposers import proposers
from tune_lb.search.score import Score
from tune_lb.settings.domain import over
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.space.space import Space
from tune_lb.training.data_checks import check_against_data


@pytest.mark.parametrize(("power", "factor"), [(1.0, 4.0), (0.5, 2.0), (0.0, 1.0)])
def test_the_rate_is_that_of_the_base_batch_scaled(power, factor):
    of = trial(Scaling(base_batch_size=2, power=power), lr=0.01, schedule=Constant())
    assert of.learning_rate == pytest.approx(0.01 * factor)
    assert same_bits(trajectory(of), trajectory(trial(lr=0.01 * factor, schedule=Constant())))
    seen = [row.value for row in history(training(of)) if row.name == "lr"]
    assert seen == pytest.approx([0.01 * factor] * 2)
    row = of.columns()
    assert row["lr"] == pytest.approx(0.01 * factor)
    assert row["eta_over_b"] == pytest.approx(0.01 * factor / 8)
    assert (row["scaling.base_batch_size"], row["scaling.power"], row["remedies"]) == (2, power, "scaling")


def test_linear_scaling_is_a_rate_per_example():
    for batch_size in (2, 4, 12):
        scaled = trial(Scaling(base_batch_size=4), lr=0.02, batch_size=batch_size)
        assert scaled.learning_rate == pytest.approx(
            trial(lr=None, eta_over_b=0.005, batch_size=batch_size).learning_rate
        )


def test_composes_with_warmup_and_a_growing_batch():
    of = trial(
        Scaling(base_batch_size=2, power=0.5),
        Warmup(epochs=1.0),
        BatchGrowth(initial=4, every=1.0, power=1.0),
        lr=0.01,
        schedule=Constant(),
    )
    seen = [row.value for row in history(training(of), 1e-9) if row.name == "lr"]
    # peak 0.02 at the trial's batch of 8; half of that while the batch is 4, in the first epoch, which is warmup
    assert seen == pytest.approx([0.01 * s / 6 for s in range(1, 7)] + [0.02] * 3)


def test_a_rate_per_example_is_refused():
    of = trial(Scaling(base_batch_size=4), lr=None, eta_over_b=0.01)
    lines = check_against_data(of, of.data.load(0))
    assert len(lines) == 1
    assert "scaling.base_batch_size = 4: eta_over_b = 0.01 is linear in the batch already" in lines[0]
    assert Scaling(base_batch_size=0).problems("scaling") == ["scaling.base_batch_size = 0: must be at least 1"]
    assert "must be at most 1" in Scaling(power=1.5).problems("scaling")[0]


def space():
    rule = Scaling(base_batch_size=4, power=over([0.5, 1.0]))
    return Space(
        question="Which power?",
        data=Blobs(),
        model=MLP(hidden=(6,)),
        batch_size=16,
        lr=over(0.01, 0.1, log=True),
        arms=(
            Arm("small", rule, batch_size=4),
            Arm("large", rule),
            Arm("sharp", SAM(rho=0.1)),
            Arm("both", SAM(rho=0.1), rule, combines=("large", "sharp")),
        ),
        baseline="small",
        reference="large",
        num_samples=3,
    )


def test_derived_arms_have_the_rate_that_was_selected_and_are_not_scaled_again():
    search = Search(space(), DataFacts("data", 24))
    for job in iter(search.take, None):
        search.observe({member.key: Score(0.01 * member.trial.learning_rate) for member in job.members})
    best = search.selected("small").trial
    assert best.learning_rate == best.lr
    copied, scaled = (search.selected(f"large_{role}").trial for role in ("copied", "scaled"))
    assert (copied.batch_size, copied.learning_rate) == (16, best.lr)
    assert scaled.learning_rate == pytest.approx(4 * best.lr)


def test_a_combined_arm_takes_the_rate_before_scaling():
    whole = space()
    designs = {design.name: design for design in checked_designs(whole)}
    arm = SearchedArm(designs["both"], DataFacts("data", 24), proposers(whole, list(designs.values()))["both"], {})
    source = designs["large"].template.resolved({"lr": 0.02, "scaling.power": 0.5})
    combined = arm.candidate(0, arm.taken_from(source)).trial
    assert combined.learning_rate == source.learning_rate == pytest.approx(0.04)
