"""Phases: one training after the other, each from the last weights of the one before."""

from __future__ import annotations

import pytest
import torch

from tests.trainings import Blobs, flat, history, parts_of, same_bits, same_up_to_rounding, training, trial
from tune_lb.budgets import Epochs, UntilPlateau
from tune_lb.observation.outcome import outcomes
from tune_lb.optimizers.elementwise import SGD, Adam
from tune_lb.remedies.batch_growth import BatchGrowth
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.warm_start import WarmStart
from tune_lb.schedules import Constant
from tune_lb.settings.domain import over
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.space.space import Space
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.phase import Phase
from tune_lb.training.phased_training import PhasedTraining, begun

WAYS = ["alone", "together"]
SMALL = Phase(epochs=1.0, batch_size=4, lr=0.05)
MIXED = (SMALL, Phase(epochs=1.0, optimizer=Adam(), lr=0.01, remedies=(SAM(rho=0.1), GhostBatchNorm(4))))


def phased(*phases, seeds=(0, 1), execution="alone", **settings):
    of = trial(phases=phases, **settings)
    return PhasedTraining(of, seeds, parts_of(of), execution=execution, dtype=torch.float64)


def ends(running):
    history(running)
    return {member.seed: flat(member.params | member.buffers) for member in running.trained()}


def test_the_first_phase_is_the_training_that_it_would_be_by_itself():
    running = phased(SMALL)
    while running.number == 0 and not running.now.done:
        running.advance()
    alone = ends(training(trial(batch_size=4, lr=0.05, budget=Epochs(1.0)), (0, 1)))
    assert same_bits({m.seed: flat(m.params | m.buffers) for m in running.trained()}, alone)


@pytest.mark.parametrize("execution", WAYS)
def test_the_next_goes_on_from_the_last_weights_with_a_new_optimizer_and_schedule(execution):
    """Full batches and plain momentum SGD: what is drawn does not matter, so the second phase can be written out."""
    whole = {"batch_size": 24, "schedule": Constant(), "optimizer": SGD(momentum=0.9)}
    first = training(trial(**whole, lr=0.1, budget=Epochs(2.0)), (0, 1))
    history(first)
    expected = {}
    for seed, (params, buffers) in first.iterates().items():
        module = first.evaluation_module.train()
        module.load_state_dict(params | buffers)
        data = Blobs().load(0)
        inputs = torch.from_numpy(data.standardized(data.train.inputs)).double()
        theirs = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.9)
        for _ in range(3):
            theirs.zero_grad()
            torch.nn.functional.cross_entropy(module(inputs), torch.from_numpy(data.train.targets)).backward()
            theirs.step()
        expected[seed] = flat(dict(module.named_parameters())).clone()
    running = phased(Phase(epochs=2.0, lr=0.1), execution=execution, **whole, lr=0.02, budget=Epochs(3.0))
    history(running)
    assert same_up_to_rounding({m.seed: flat(m.params) for m in running.trained()}, expected)


def test_a_phase_of_no_epochs_is_none():
    assert same_bits(ends(begun_of(Phase(epochs=0.0, lr=0.3))), ends(begun_of()))
    assert same_bits(ends(begun_of(SMALL, Phase(epochs=0.0))), ends(begun_of(SMALL)))


def begun_of(*phases):
    of = trial(phases=phases)
    return begun(of, (0, 1), parts_of(of))


def test_later_phases_have_draws_of_their_own():
    running = phased(Phase(epochs=1.0))
    running.advance()
    orders = [running.now.batches.batch(0, 0).inputs]
    running.advance()
    orders.append(running.now.batches.batch(0, 0).inputs)
    assert not torch.equal(*orders)


@pytest.mark.parametrize("execution", WAYS)
def test_steps_and_costs_count_on(execution):
    running = phased(*MIXED, execution=execution)
    rows = history(running)
    # batches of 4, then of 8 with two gradients each, then of 8
    assert running.plan.boundaries == (0, 4, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96)
    assert [row.step for row in rows if (row.seed, row.name) == (0, "lr")] == [6, 9, 12, 15]
    assert [row.epoch for row in rows if (row.seed, row.name) == (1, "lr")] == [1.0, 2.0, 3.0, 4.0]
    row = outcomes(running, metrics=(), wall_s=1.0)[0].row
    assert (row["updates"], row["examples"], row["epochs"]) == (15, 96, 4.0)
    assert row["gradient_evaluations"] == 6 + 2 * 3 + 6
    assert (row["phase1.epochs"], row["phase1.batch_size"], row["phase2.lr"]) == (1.0, 4, 0.01)


@pytest.mark.parametrize("execution", WAYS)
def test_ways_agree_and_interruptions_anywhere_change_nothing(execution):
    expected = ends(phased(*MIXED))
    assert same_up_to_rounding(ends(phased(*MIXED, execution=execution)), expected)
    whole = ends(phased(*MIXED, execution=execution))
    broken = phased(*MIXED, execution=execution)
    while not broken.done:
        broken.advance(1e-9)
        following = phased(*MIXED, execution=execution)
        following.restore(broken.checkpoint())
        broken = following
    assert same_bits({m.seed: flat(m.params | m.buffers) for m in broken.trained()}, whole)


def test_who_diverges_in_an_early_phase_has_diverged():
    running = phased(Phase(epochs=2.0, lr=1e200))
    history(running)
    found = outcomes(running, metrics=(), wall_s=1.0)
    assert [outcome.row["status"] for outcome in found] == ["diverged", "diverged"]
    assert all(outcome.row["diverged_at_step"] < 6 for outcome in found)
    assert running.number == 0


def test_small_then_large_begins_as_the_warm_start_remedy_does():
    """The same idea in one training: until the change, with a constant rate, they are one."""
    settings = {"schedule": Constant(), "lr": 0.05, "budget": Epochs(1.0)}
    running, remedy = phased(Phase(epochs=1.0, batch_size=4), **settings), None
    running.advance(1.0)
    remedy = training(
        trial(WarmStart(epochs=1.0, batch_size_before=4, power=0.0), **settings | {"budget": Epochs(2.0)}), (0, 1)
    )
    remedy.advance(1.0)
    found = {m.seed: flat(m.params | m.buffers) for m in running.trained()}
    assert same_bits(found, {m.seed: flat(m.params | m.buffers) for m in remedy.trained()})


def test_numbers_of_a_phase_are_dimensions():
    space = Space(
        question="?",
        data=Blobs(),
        model=trial().model,
        lr=0.1,
        batch_size=8,
        arms=(Arm("large"), Arm("small_first", phases=(Phase(epochs=over(1.0, 3.0), batch_size=over([2, 4])),))),
    )
    design = next(design for design in checked_designs(space) if design.name == "small_first")
    assert list(design.dimensions) == ["phase1.epochs", "phase1.batch_size"]
    of = design.template.resolved({"phase1.epochs": 2.0, "phase1.batch_size": 2})
    assert of.plan(24).num_updates == 24 + trial(budget=space.budget).plan(24).num_updates
    assert of.trial_id("data") != design.template.resolved({"phase1.epochs": 2.0, "phase1.batch_size": 4}).trial_id(
        "data"
    )


def test_trials_without_phases_keep_their_identity():
    assert "phases" not in str(trial().columns())
    assert trial(phases=()).trial_id("data") == trial().trial_id("data")


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (Phase(epochs=-1.0), "phase1.epochs = -1.0: must be at least 0"),
        (Phase(epochs=1.0, lr=0.1, eta_over_b=0.1), "phase1: lr and eta_over_b are both given"),
        (Phase(epochs=1.0, remedies=(SAM(rho=over(0.1, 1.0)),)), "phase1: SAM.rho is searched"),
        (
            Phase(epochs=1.0, optimizer=over([SGD(momentum=over(0.0, 0.9)), SGD(nesterov=True)])),
            "phase1: SGD.momentum is searched; in a phase only its own numbers can be",
        ),
        (Phase(epochs=1.0, remedies=(over([SAM(rho=over(0.1, 1.0)), None]),)), "phase1.remedies = "),
        (Phase(epochs=1.0, remedies=(SAM(rho=-1.0),)), "phase1: SAM.rho = -1.0: must be at least 0"),
        (Phase(epochs=1.0, remedies=("sam",)), "give a tuple of remedies"),
        (Phase(epochs=1.0, remedies=(SAM(rho=0.1), SAM(rho=0.1))), "phase1: remedy sam is given twice"),
        (
            Phase(epochs=1.0, remedies=(WarmStart(epochs=0.5), BatchGrowth(initial=2))),
            "phase1: batch_growth and warm_start",
        ),
    ],
)
def test_mistakes_in_a_phase_are_said(phase, words):
    assert any(words in problem for problem in trial(phases=(phase,)).problems())


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (Phase(epochs=1.0, batch_size=25), "phase1: batch_size = 25 is larger than the train set"),
        (Phase(epochs=1.0, remedies=(GhostBatchNorm(3),)), "phase1: ghost_batch_norm.ghost_batch_size = 3"),
    ],
)
def test_a_phase_that_does_not_fit_the_data_is_said(phase, words):
    of = trial(phases=(phase,))
    found = check_against_data(of, of.data.load(0))
    assert any(words in problem for problem in found)


def test_a_budget_that_watches_the_loss_is_refused_after_phases():
    found = trial(phases=(SMALL,), budget=UntilPlateau()).problems()
    assert any("after phases give a budget that is counted" in problem for problem in found)


def test_noise_of_phases_that_are_alike_differs():
    of = trial(GradientNoise(alpha=0.1), phases=(Phase(epochs=2.0),))
    first, second = of.in_phases()
    assert (first.remedies, first.draws) == (of.remedies, of.draws)
    assert second.draws != first.draws
