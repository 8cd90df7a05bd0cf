"""Budgets: when training ends."""

from __future__ import annotations

import pytest

from tests.trainings import flat, history, same_bits, training, trial
from tune_lb.budgets import Epochs, GradientEvaluations, UntilPlateau, Updates
from tune_lb.observation.outcome import outcomes
from tune_lb.remedies.sam import SAM


@pytest.mark.parametrize(
    ("losses", "stops"),
    [
        ([1.0, 0.9, 0.9], False),
        ([1.0, 0.9, 0.95, 0.95], True),
        ([1.0, 0.9, 0.95, 0.8], False),
        # better by less than the tolerance does not count
        ([1.0, 0.9, 0.9, 0.851], True),
        ([1.0, 0.9, 0.9, 0.849], False),
    ],
)
def test_a_plateau_is_a_best_loss_that_patience_did_not_better(losses, stops):
    assert UntilPlateau(patience=2, tolerance=0.05).stops(losses) is stops


def test_members_end_one_by_one_where_their_own_loss_ceases_to_improve():
    budget = UntilPlateau(patience=2, tolerance=0.02, max_epochs=40.0)
    running = training(trial(budget=budget, batch_size=6), (0, 1, 2))
    rows = history(running)
    found = {outcome.row["seed"]: outcome.row for outcome in outcomes(running, metrics=(), wall_s=0.0)}
    for seed in (0, 1, 2):
        losses = [row.value for row in rows if row.seed == seed and row.name == "running_train_loss"]
        first = next(n for n in range(1, 41) if budget.stops(losses[:n]))
        assert len(losses) == first
        assert found[seed]["updates"] == 4 * first
        assert found[seed]["epochs"] == first
        assert found[seed]["stop_reason"] == "plateau"
    assert len({row["updates"] for row in found.values()}) > 1


def test_a_loss_that_keeps_improving_ends_at_the_limit():
    running = training(trial(budget=UntilPlateau(patience=3, tolerance=0.0, max_epochs=3.0), lr=1e-3), (0,))
    history(running)
    row = outcomes(running, metrics=(), wall_s=0.0)[0].row
    assert (row["stop_reason"], row["updates"]) == ("budget", 9)


@pytest.mark.parametrize("batch_size", [8, 7])
def test_where_a_plateau_ends_does_not_depend_on_the_calls_or_on_an_interruption(batch_size):
    of = trial(budget=UntilPlateau(patience=2, tolerance=0.02, max_epochs=30.0), batch_size=batch_size)
    whole = training(of, (0, 1))
    history(whole)
    pieces = training(of, (0, 1))
    while not pieces.done:
        pieces.advance(1e-9)
        following = training(of, (0, 1))
        following.restore(pieces.checkpoint())
        pieces = following
    ends = [{m.seed: m.stopped_at_step for m in t.trained()} for t in (whole, pieces)]
    assert ends[0] == ends[1]
    assert None not in ends[0].values()
    assert same_bits(*({m.seed: flat(m.params) for m in t.trained()} for t in (whole, pieces)))


def test_a_budget_that_watches_the_loss_refuses_stacked_members():
    with pytest.raises(ValueError, match="alone"):
        training(trial(budget=UntilPlateau()), (0, 1), "together")


def test_every_budget_counts_what_it_says():
    def updates(budget, *remedies):
        return trial(*remedies, budget=budget).plan(24).num_updates

    assert updates(Epochs(2.5)) == 7
    assert updates(Updates(11)) == updates(Updates(11), SAM(rho=0.1)) == 11
    assert updates(GradientEvaluations(11)) == 11
    assert updates(GradientEvaluations(11), SAM(rho=0.1)) == 5
    assert updates(UntilPlateau(max_epochs=2.0)) == 6
