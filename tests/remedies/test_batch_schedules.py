"""Batches that grow: every boundary by hand, the rate that goes with them, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from tests.trainings import flat, history, refusals, training, trial
from tune_lb.budgets import Epochs, GradientEvaluations, Updates
from tune_lb.optimizers.elementwise import SGD
from tune_lb.remedies.batch_growth import BatchGrowth
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.warm_start import WarmStart
from tune_lb.schedules import Constant, Cosine

N = 240
FOUR = Epochs(4.0)


def plan_of(remedy, budget, batch_size=60, **settings):
    return trial(remedy, budget=budget, batch_size=batch_size, **settings).plan(N)


def sizes(remedy, budget=FOUR, **settings):
    return [b - a for a, b in pairwise(plan_of(remedy, budget, **settings).boundaries)]


def rates(remedy, budget=FOUR, **settings):
    of = trial(remedy, budget=budget, batch_size=60, lr=0.6, **settings)
    plan = of.plan(N)
    return [of.rate(plan)(plan.position(step)) for step in range(plan.num_updates)]


@pytest.mark.parametrize(
    ("epochs", "before", "expected"),
    [
        (1.0, 24, [24] * 10 + [60] * 12),
        (2.0, 40, [40] * 12 + [60] * 8),
        (0.5, 24, [24] * 5 + [60] * 14),
        # 50 does not divide 240: the fifth small batch reaches 10 examples beyond the epoch, and 650 hold ten large ones
        (1.0, 50, [50] * 5 + [60] * 11),
    ],
)
def test_the_warm_phase_ends_with_the_first_step_at_its_end(epochs, before, expected):
    assert sizes(WarmStart(epochs=epochs, batch_size_before=before)) == expected


@pytest.mark.parametrize(
    ("growth", "expected"),
    [
        (BatchGrowth(initial=15, factor=2.0, every=1.0), [15] * 16 + [30] * 8 + [60] * 8),
        (BatchGrowth(initial=20, factor=3.0, every=2.0), [20] * 24 + [60] * 8),
        (
            BatchGrowth(initial=10, factor=1.6, every=0.5),
            [10] * 12 + [16] * 8 + [26] * 5 + [41] * 3 + [60] * 7,
        ),
        # after 1,075 doublings the power is no float any more
        (BatchGrowth(initial=1, factor=2.0, every=1e-4), [1, 60]),
    ],
    ids=str,
)
def test_the_batch_grows_at_multiples_of_a_stage_up_to_the_trials_own(growth, expected):
    found = sizes(growth)
    assert found[: len(expected)] == expected
    assert set(found[len(expected) :]) <= {60}


def test_a_stage_is_the_one_in_which_a_step_starts():
    plan = plan_of(BatchGrowth(initial=10, factor=1.7, every=0.7), Epochs(4.0))
    for before, after in pairwise(plan.boundaries):
        assert after - before == min(60, round(10 * 1.7 ** (before // 168)))


@pytest.mark.parametrize(
    ("budget", "updates"),
    [(Epochs(4.0), 32), (Updates(20), 20), (GradientEvaluations(7), 7), (Epochs(0.5), 8)],
    ids=str,
)
def test_budgets_hold_whatever_the_batch(budget, updates):
    plan = plan_of(BatchGrowth(initial=15, factor=2.0, every=1.0), budget)
    assert plan.num_updates == updates
    assert plan.num_examples == sum(([15] * 16 + [30] * 8 + [60] * 8)[:updates])


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_rate_follows_the_batch(power):
    found = rates(WarmStart(epochs=1.0, batch_size_before=24, power=power), schedule=Cosine())
    plain = [
        0.6 * Cosine().factor(plan_of(WarmStart(epochs=1.0, batch_size_before=24), Epochs(4.0)).position(s))
        for s in range(22)
    ]
    assert found == pytest.approx([r * (0.4**power if s < 10 else 1.0) for s, r in enumerate(plain)], rel=1e-14)
    grown = rates(BatchGrowth(initial=15, every=1.0, power=power), schedule=Constant())
    assert grown == pytest.approx([0.6 * 0.25**power] * 16 + [0.6 * 0.5**power] * 8 + [0.6] * 8, rel=1e-14)


def test_growing_in_place_of_a_falling_rate():
    # the small batch's rate is 0.6 15 / 60 = 0.15, its step schedule 0.15, 0.075, 0.0375, 0.01875, 0.009375
    found = rates(BatchGrowth(initial=15, every=1.0, decay=True), Epochs(5.0), schedule=Constant())
    batches = sizes(BatchGrowth(initial=15, every=1.0, decay=True), Epochs(5.0))
    assert found == pytest.approx([0.15] * (16 + 8 + 4) + [0.075] * 4 + [0.0375] * 4, rel=1e-14)
    per_example = [rate / size for rate, size in zip(found, batches, strict=True)]
    assert per_example == pytest.approx(
        [0.01] * 16 + [0.005] * 8 + [0.0025] * 4 + [0.00125] * 4 + [0.000625] * 4, rel=1e-14
    )


@pytest.mark.parametrize("way", ["alone", "together"])
def test_training_is_the_loop_with_those_batches(way):
    of = trial(WarmStart(epochs=1.0, batch_size_before=4, power=1.0), optimizer=SGD(momentum=0.0), schedule=Constant())
    running = training(of, (0, 3), way)
    starts = [member.params | member.buffers for member in running.trained()]
    for seed, start in zip((0, 3), starts, strict=True):
        module = of.model((5,), 3).double()
        module.load_state_dict(start)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
        stream = torch.cat([training(of, (seed,)).batches.batch(seed, step).inputs for step in range(9)])
        plain = training(trial(batch_size=24), (seed,)).batches
        assert torch.equal(stream, torch.cat([plain.batch(seed, step).inputs for step in range(2)]))
        for step, (a, b) in enumerate(pairwise([0, 4, 8, 12, 16, 20, 24, 32, 40, 48])):
            optimizer.param_groups[0]["lr"] = 0.05 if b <= 24 else 0.1
            optimizer.zero_grad()
            targets = running.batches.batch(seed, step).targets
            nn.functional.cross_entropy(module(stream[a:b]), targets).backward()
            optimizer.step()
        history(running)
        member = next(m for m in running.trained() if m.seed == seed)
        torch.testing.assert_close(flat(member.params), flat(dict(module.named_parameters())), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("remedies", "words"),
    [
        ([WarmStart(epochs=1.0, batch_size_before=8)], ["warm_start.batch_size_before = 8", "batch_size = 8"]),
        ([WarmStart(epochs=2.0, batch_size_before=4)], ["warm_start.epochs = 2", "2 epochs"]),
        ([BatchGrowth(initial=9)], ["batch_growth.initial = 9", "batch_size = 8"]),
        (
            [WarmStart(epochs=1.0, batch_size_before=4), BatchGrowth(initial=2)],
            ["batch_growth and warm_start", "size of the batch"],
        ),
        (
            [BatchGrowth(initial=2, every=0.5), GhostBatchNorm(ghost_batch_size=4)],
            ["batch_growth", "batches of 2", "= 4"],
        ),
        ([WarmStart(epochs=1.0, batch_size_before=6), SAM(rho=0.1, m=4)], ["warm_start", "batches of 6", "sam.m = 4"]),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused(remedies, words):
    found = refusals(*remedies)
    assert len(found) == 1
    assert all(word in found[0] for word in words), found


def test_neutral_ones_are_no_second_schedule():
    of = trial(WarmStart(), BatchGrowth(initial=2, every=0.5))
    assert refusals(*of.remedies) == []
    assert [b - a for a, b in pairwise(of.plan(24).boundaries)] == [2] * 6 + [4] * 3 + [8] * 3
