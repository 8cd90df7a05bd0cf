"""Averages of the weights against sums over the weights of every update, and what is evaluated of them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tests.trainings import flat, history, refusals, training, trial
from tune_lb.budgets import Epochs
from tune_lb.observation.outcome import outcomes
from tune_lb.remedies.ema import EMA
from tune_lb.remedies.lawa import LAWA
from tune_lb.remedies.swa import SWA
from tune_lb.remedies.warm_start import WarmStart
from tune_lb.schedules import Constant

WAYS = ["alone", "together"]
SIX = Epochs(6.0)


def passed(*remedies, **settings):
    """The weights after every update of plain training, and the examples seen by then."""
    running = training(trial(*remedies, **settings), (0, 3))
    weights = {0: [], 3: []}
    while not running.done:
        running.advance(1e-9)
        for member in running.trained():
            weights[member.seed].append(flat(member.params))
    return weights, list(running.plan.boundaries[1:])


def averaged(*remedies, way="alone", **settings):
    running = training(trial(*remedies, **settings), (0, 3), way)
    history(running)
    return {member.seed: member for member in running.trained()}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("before", [(), (WarmStart(epochs=1.0, batch_size_before=4),)], ids=["constant", "growing"])
def test_ema_is_the_sum_over_all_updates(way, before):
    weights, seen = passed(*before)
    found = averaged(EMA(half_life=0.7, others=(0.1, 5.0)), *before, way=way)
    for seed, member in found.items():
        trees = {0.7: member.params, 0.1: member.alternatives["ema_0.1"], 5.0: member.alternatives["ema_5"]}
        for half_life, tree in trees.items():
            # an update's weight is what it adds, 1 - 2^(-b / (h N)), times what is left of it at the end
            terms = [
                (1 - 2 ** (-(after - start) / (24 * half_life))) * 2 ** (-(48 - after) / (24 * half_life))
                for start, after in zip([0, *seen], seen, strict=False)
            ]
            expected = sum(term * w for term, w in zip(terms, weights[seed], strict=True)) / sum(terms)
            torch.testing.assert_close(flat(tree), expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(flat(member.alternatives["last"]), weights[seed][-1], rtol=1e-9, atol=1e-12)


def test_ema_forgets_half_in_a_half_life_and_never_knew_the_start():
    (ours,) = [EMA(half_life=1e9)]
    weights, _ = passed()
    torch.testing.assert_close(flat(averaged(ours)[0].params), sum(weights[0]) / 6, rtol=1e-6, atol=1e-8)
    short = averaged(EMA(half_life=1e-3))[0]
    assert torch.equal(flat(short.params), flat(short.alternatives["last"]))
    only = averaged(EMA(others=(0.5,)))[0]
    assert torch.equal(flat(only.params), weights[0][-1])
    assert torch.equal(flat(only.alternatives["ema_0.5"]), flat(averaged(EMA(half_life=0.5))[0].params))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("remedy", "batch_size", "steps"),
    [
        # 24 examples an epoch: batches of 8 make three updates, of 5 end epochs 1 to 6 within updates 5, 10, 15, 20, 24
        (SWA(start=0.5, every=1.0), 8, [9, 12, 15, 18]),
        (SWA(start=0.0, every=1.0), 8, [3, 6, 9, 12, 15, 18]),
        (SWA(start=0.5, every=0.1), 8, [9, *range(10, 19)]),
        (SWA(start=0.6, every=1.5), 8, [11, 16]),
        (SWA(start=0.0, every=1.0), 5, [5, 10, 15, 20, 24]),
        (LAWA(num_snapshots=3, every=1.0), 8, [12, 15, 18]),
        (LAWA(num_snapshots=2, every=0.1), 8, [17, 18]),
        (LAWA(num_snapshots=4, every=1.0), 5, [10, 15, 20, 24]),
    ],
    ids=str,
)
def test_the_mean_is_over_the_weights_after_these_updates(way, remedy, batch_size, steps):
    settings = {"budget": SIX, "schedule": Constant(), "batch_size": batch_size}
    weights, _ = passed(**settings)
    for seed, member in averaged(remedy, way=way, **settings).items():
        expected = sum(weights[seed][step - 1] for step in steps) / len(steps)
        torch.testing.assert_close(flat(member.params), expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(flat(member.alternatives["last"]), weights[seed][-1], rtol=1e-9, atol=1e-12)


def test_lawa_of_other_lengths_come_from_the_same_run():
    weights, _ = passed(budget=SIX)
    found = averaged(LAWA(num_snapshots=2, others=(1, 5)), budget=SIX)[0]
    for number, tree in {2: found.params, 1: found.alternatives["lawa_1"], 5: found.alternatives["lawa_5"]}.items():
        expected = sum(weights[0][18 - 1 - 3 * i] for i in range(number)) / number
        torch.testing.assert_close(flat(tree), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("remedy", [EMA(half_life=1.0), SWA(start=0.5), LAWA(num_snapshots=2)], ids=str)
def test_before_anything_is_averaged_the_weights_are_evaluated(remedy):
    running, plain = training(trial(remedy, budget=SIX)), training(trial(budget=SIX))
    for steps in range(3):
        member, other = next(running.trained()), next(plain.trained())
        if steps == 0 or not isinstance(remedy, EMA):
            assert torch.equal(flat(member.params), flat(other.params))
        running.advance(1e-9)
        plain.advance(1e-9)


@pytest.mark.parametrize(
    "remedy", [EMA(half_life=1.0, others=(3.0,)), SWA(start=0.2), LAWA(num_snapshots=3, others=(2,))]
)
def test_training_is_untouched_and_batch_norm_statistics_are_those_of_the_average(remedy):
    of = trial(remedy, budget=SIX)
    running, plain = training(of), training(trial(budget=SIX))
    rows, expected = history(running), history(plain)
    assert rows == expected
    member, last = next(running.trained()), next(plain.trained())
    row = outcomes(running, metrics=(), wall_s=0.0)[0].row
    trees = {"": member.params} | {f"@{name}": tree for name, tree in member.alternatives.items()}
    assert torch.equal(flat(trees["@last"]), flat(last.params))
    seen = {row.name: row.value for row in running.evaluate()}
    for mark, tree in trees.items():
        module = of.model((5,), 3).double()
        module.load_state_dict(tree | member.buffers)
        module[2].momentum = 1.0
        train = running.parts.train
        module.train()(train.standardized().double())
        module.eval()
        for name in ("train", "validation", "test"):
            part = getattr(running.parts, name)
            outputs = module(part.standardized().double())
            assert row[f"{name}_loss{mark}"] == pytest.approx(F.cross_entropy(outputs, part.targets).item(), rel=1e-9)
            assert row[f"{name}_error{mark}"] == (outputs.argmax(-1) != part.targets).double().mean().item()
        assert row[f"train_loss{mark}"] == seen[f"train_loss{mark}"]
    # the statistics of training are another thing: without the recomputation the losses would be these
    module.load_state_dict(member.params | member.buffers)
    stale = F.cross_entropy(module(running.parts.train.standardized().double()), running.parts.train.targets).item()
    assert not math.isclose(stale, row["train_loss"], rel_tol=1e-3)


@pytest.mark.parametrize("way", WAYS)
def test_averages_survive_a_restart(way):
    for remedy in (EMA(half_life=1.0, others=(3.0,)), SWA(start=0.2), LAWA(num_snapshots=3)):
        of = trial(remedy, budget=SIX)
        whole, first, second = (training(of, (0, 1), way) for _ in range(3))
        history(whole)
        first.advance(3.0)
        second.restore(first.checkpoint())
        history(second)
        for a, b in zip(whole.trained(), second.trained(), strict=True):
            assert torch.equal(flat(a.params), flat(b.params))
            assert all(torch.equal(flat(a.alternatives[name]), flat(b.alternatives[name])) for name in a.alternatives)


@pytest.mark.parametrize(
    ("remedies", "words"),
    [
        ([EMA(half_life=1.0), SWA(start=0.1, every=0.5)], ["ema and swa", "the weights that are evaluated"]),
        ([SWA(start=0.9)], ["swa.every = 1", "1 snapshot", "swa.start = 0.9"]),
        ([LAWA(num_snapshots=3)], ["lawa.num_snapshots = 3", "2 snapshots"]),
        ([LAWA(num_snapshots=2, others=(7,))], ["lawa.others = 7", "2 snapshots"]),
        ([EMA(half_life=1.0, others=(0.0,))], ["ema.others", "above 0"]),
        ([LAWA(num_snapshots=2, others=(0.5,))], ["lawa.others", "no number of snapshots"]),
        ([SWA(start=1.0)], ["swa.start = 1.0", "below 1"]),
    ],
    ids=str,
)
def test_what_is_no_average_is_refused(remedies, words):
    found = refusals(*remedies)
    assert len(found) == 1
    assert all(word in found[0] for word in words), found
