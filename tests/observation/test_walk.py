from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from tests.trainings import Blobs, flat, history, trial
from tests.trainings import training as start_training
from tune_lb.budgets import Epochs
from tune_lb.models.mlp import MLP
from tune_lb.observation.walk_losses import WalkLosses, valley
from tune_lb.observation.walker import Walker, cosine, walk_costs
from tune_lb.optimizers.elementwise import SGD
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.schedules import Constant
from tune_lb.space.observation import Walk


@dataclass(frozen=True)
class Line:
    """One output, no bias: with the loss below a quadratic in the weights."""

    def __call__(self, input_shape, num_classes):
        return nn.Linear(input_shape[0], 1, bias=False)


def squares(outputs, targets):
    return (outputs[:, 0] - targets) ** 2 / 2


def walked(of, walk, seeds=(0,), execution="alone", dtype=torch.float64, epochs=1.0):
    running = start_training(of, seeds, execution, dtype)
    walker = Walker(walk, running)
    rows = []
    while not running.done:
        rows += walker.advance(epochs)
    return running, walker, rows


def values(rows, name, seed=0):
    return [row.value for row in rows if row.name == f"walk.{name}" and row.seed == seed]


@pytest.mark.parametrize("lr", [0.05, 0.35])
def test_gradient_descent_on_a_quadratic_has_the_closed_form(lr):
    # full batches: g' = g - lr H g; along the update L(a) = L + s a + c a^2 / 2, s = -lr |g|^2, c = lr^2 g^T H g
    of = trial(
        model=Line(),
        loss=squares,
        data=Blobs(num_features=3),
        batch_size=24,
        lr=lr,
        budget=Epochs(4),
        optimizer=SGD(momentum=0.0),
        schedule=Constant(),
    )
    running, _, rows = walked(of, Walk(epochs=(1, 2, 3, 4), points=4))
    x = running.parts.train.standardized().double()
    y = running.parts.train.targets.double()
    H = x.T @ x / len(x)
    w = start_training(of).initial(0)["weight"][0].double()
    start, before, length = w, None, 0.0
    for t in range(4):
        g = x.T @ (x @ w - y) / len(x)
        L, s, c = float(((x @ w - y) ** 2).mean() / 2), -lr * float(g @ g), lr**2 * float(g @ H @ g)
        line = [L + s * a + c * a * a / 2 for a in (0, 0.2, 0.4, 0.6, 0.8, 1)]
        assert values(rows, "height")[t] == pytest.approx((line[0] + line[-1]) / 2 - min(line), rel=1e-9, abs=1e-14)
        at = {row.step: row.value for row in rows if row.name == "walk.loss"}
        assert (at[t], at[t + 1]) == (pytest.approx(line[0], rel=1e-9), pytest.approx(line[-1], rel=1e-9))
        assert [values(rows, f"loss_{i}")[t] for i in (1, 2, 3, 4)] == pytest.approx(line[1:-1], rel=1e-9)
        assert values(rows, "is_barrier")[t] == values(rows, "barriers")[t] == 0
        assert values(rows, "barrier")[t] == 0
        floors = [row.value for row in rows if row.name == "walk.floor" and row.step == t + 1]
        assert floors == ([pytest.approx(min(line), rel=1e-9)] if min(line[1:-1]) < min(line[0], line[-1]) else [])
        w = w - lr * g
        length = lr * float(g.norm())
        assert values(rows, "step_length")[t] == pytest.approx(length, rel=1e-9)
        assert values(rows, "path_length")[t] == pytest.approx(length, rel=1e-9)  # an epoch is one update
        assert values(rows, "distance")[t] == pytest.approx(float((w - start).norm()), rel=1e-9)
        if before is not None:
            # an epoch is one update: it goes on over epochs that are all watched
            assert values(rows, "cosine")[t - 1] == pytest.approx(
                torch.cosine_similarity(before, g, 0).item(), rel=1e-9
            )
        before = g
    assert values(rows, "epoch_distance")[-1] == pytest.approx(length, rel=1e-9)
    assert len(values(rows, "cosine")) == 3
    assert [row.step for row in rows if row.name == "walk.loss"] == [0, 1, 2, 3, 4]


def test_the_cosine_is_that_of_consecutive_gradients():
    of = trial(
        model=Line(),
        loss=squares,
        data=Blobs(num_features=3),
        batch_size=24,
        lr=0.35,
        budget=Epochs(3),
        optimizer=SGD(momentum=0.0),
        schedule=Constant(),
    )
    running, _, rows = walked(of, Walk(epochs=(1,), points=1), epochs=3.0)
    x, y = running.parts.train.standardized().double(), running.parts.train.targets.double()
    w, gradients = start_training(of).initial(0)["weight"][0].double(), []
    for _ in range(3):
        gradients.append(x.T @ (x @ w - y) / len(x))
        w = w - 0.35 * gradients[-1]
    expected = [torch.cosine_similarity(a, b, 0).item() for a, b in itertools.pairwise(gradients)]
    assert values(rows, "cosine") == pytest.approx(expected, rel=1e-9)
    # of an epoch that is not watched the last gradient is kept
    _, _, apart = walked(of, Walk(epochs=(1, 3), points=1))
    assert values(apart, "cosine") == pytest.approx(expected[1:], rel=1e-9)
    path = 0.35 * sum(float(g.norm()) for g in gradients)
    assert values(rows, "path_length")[-1] == pytest.approx(path, rel=1e-9)


def test_valleys_and_barriers_by_hand():
    assert valley([3.0, 1.0, 2.0]) == (1.0, 1.5, 0.0)
    assert valley([3.0, 2.5, 2.0]) == (None, 0.5, 0.0)
    assert valley([1.0, 4.0, 3.0]) == (None, 1.0, 1.0)
    assert valley([3.0, 5.0, 1.0, 2.0]) == (1.0, 1.5, 2.0)
    assert cosine(torch.tensor([1.0, 0.0]), torch.tensor([-2.0, 0.0])) == -1
    assert cosine(torch.zeros(2), torch.ones(2)) is None


@pytest.mark.parametrize("execution", ["alone", "together"])
def test_watching_changes_no_bit_of_the_training_and_joins_its_rows(execution):
    of = trial(SAM(rho=0.1), budget=Epochs(3.0))
    running, _, rows = walked(of, Walk(epochs=(1, 3), points=2), (0, 1), execution)
    plain = start_training(of, (0, 1), execution)
    expected = history(plain)
    others = [row for row in rows if not row.name.startswith("walk.")]
    assert [row[:4] for row in others] == [row[:4] for row in expected]
    assert [row.value for row in others] == pytest.approx([row.value for row in expected], rel=1e-14)
    for a, b in zip(running.trained(), plain.trained(), strict=True):
        assert torch.equal(flat(a.params | a.buffers), flat(b.params | b.buffers))


def test_members_together_walk_as_they_do_alone():
    of = trial(budget=Epochs(2.0))
    _, _, alone = walked(of, Walk(epochs=(2,), points=3), (0, 1))
    _, _, together = walked(of, Walk(epochs=(2,), points=3), (0, 1), "together")
    for name in ("loss", "height", "cosine", "distance", "epoch_distance"):
        for seed in (0, 1):
            assert values(together, name, seed) == pytest.approx(values(alone, name, seed), rel=1e-7, abs=1e-11)
    assert {row.step for row in alone if row.name == "walk.loss"} == {3, 4, 5, 6}


def test_distances_are_told_at_every_epoch_and_losses_are_those_of_evaluation():
    of = trial(budget=Epochs(3.0))
    running = start_training(of)
    walker = Walker(Walk(epochs=(3,), points=2), running)
    rows = [row for _ in range(3) for row in walker.advance()]
    assert [row.epoch for row in rows if row.name == "walk.epoch_distance"] == [1, 2, 3]
    first = start_training(of)
    start = flat(first.initial(0))
    first.advance()
    member = next(first.trained())
    expected = float((flat(member.params) - start).norm())
    assert values(rows, "distance")[0] == values(rows, "epoch_distance")[0] == pytest.approx(expected, rel=1e-12)
    loss = next(row.value for row in running.evaluate() if row.name == "train_loss")
    assert values(rows, "loss")[-1] == pytest.approx(loss, rel=1e-12)


def test_cost_is_counted():
    of = trial(budget=Epochs(3.0))
    _, walker, rows = walked(of, Walk(epochs=(2, 3), points=5), (0, 1))
    costs = walk_costs(rows)
    assert costs[0]["walk.gradients"] == costs[1]["walk.gradients"] == 6
    # two watched epochs of three updates, one stretch: the loss at its start is taken once
    assert costs[0]["walk.evaluations"] == 2 * 3 * 6 + 1
    assert costs[0]["walk.wall_s"] + costs[1]["walk.wall_s"] == pytest.approx(walker.looking_s)


def test_a_member_that_diverges_is_watched_no_further():
    of = trial(lr=1e30, budget=Epochs(2.0), model=MLP(hidden=(6,), batch_norm=False), optimizer=SGD())
    running, _, rows = walked(of, Walk(epochs=(1, 2), points=2), dtype=torch.float32)
    assert running.groups[0].diverged_at
    assert all(math.isfinite(row.value) for row in rows)
    assert not any(row.name == "running_train_loss" for row in rows)


@pytest.mark.parametrize(
    ("walk", "text"),
    [
        (Walk(epochs=(0,)), "counted from 1"),
        (Walk(epochs=(1.5,)), "counted from 1"),
        (Walk(points=-1), "points = -1"),
        (Walk(max_samples=1), "max_samples = 1"),
        (Walk(barrier_above=-0.1), "barrier_above = -0.1"),
    ],
)
def test_settings_without_meaning_are_refused(walk, text):
    assert text in " ".join(walk.problems())


def test_without_points_only_gradients_are_looked_at():
    of = trial(budget=Epochs(2.0))
    _, _, full = walked(of, Walk(epochs=(1, 2), points=2), dtype=torch.float32)
    _, _, few = walked(of, Walk(epochs=(1, 2), points=0), dtype=torch.float32)
    assert {row.name for row in few if row.name.startswith("walk.")} == {
        f"walk.{name}"
        for name in (
            "cosine",
            "distance",
            "step_length",
            "path_length",
            "epoch_distance",
            "evaluations",
            "gradients",
            "wall_s",
        )
    }
    for name in ("cosine", "distance", "path_length"):
        assert values(few, name) == values(full, name)
    assert walk_costs(few)[0]["walk.evaluations"] == 0


def test_a_gap_between_watched_epochs_ends_the_stretch():
    of = trial(budget=Epochs(3.0))
    _, _, rows = walked(of, Walk(epochs=(1, 3), points=1))
    # three updates an epoch: the gradient before a stretch is kept, the loss is not
    assert [row.step for row in rows if row.name == "walk.cosine"] == [2, 3, 7, 8, 9]
    assert [row.step for row in rows if row.name == "walk.loss"] == [0, 1, 2, 3, 6, 7, 8, 9]


@pytest.mark.parametrize("execution", ["alone", "together"])
def test_the_cosine_without_noise_is_that_of_the_clean_gradients(execution):
    noise = GradientNoise(alpha=4.0, gamma=0.0)
    of = trial(noise, lr=1e-12, batch_size=24, budget=Epochs(3), optimizer=SGD(momentum=0.0), schedule=Constant())
    _, _, rows = walked(of, Walk(epochs=(1, 2, 3), points=0), (0, 1), execution)
    for seed in (0, 1):
        # the weights stay where they are and batches are all examples: the clean gradient does not turn
        assert values(rows, "clean_cosine", seed) == pytest.approx([1.0, 1.0], abs=1e-6)
        assert max(map(abs, values(rows, "cosine", seed))) < 0.9
    assert not values(walked(trial(budget=Epochs(1.0)), Walk(epochs=(1,), points=0))[2], "clean_cosine")
    costs = walk_costs(rows)
    assert costs[0]["walk.gradients"] == 2 * 3


def test_losses_over_some_examples_are_over_the_same_ones():
    of = trial(budget=Epochs(2.0), model=MLP(hidden=(6,), batch_norm=False))
    running = start_training(of)
    losses = WalkLosses(Walk(max_samples=10), running)
    assert len(losses.part) == 10
    walker, rows = Walker(Walk(epochs=(1, 2), points=1, max_samples=10), running), []
    while not running.done:
        rows += walker.advance()
    x, y = losses.part.standardized().double(), losses.part.targets
    whole = running.parts.train.standardized()
    assert all(any(torch.equal(row, other) for other in whole) for row in losses.part.standardized())
    member = next(running.trained())
    outputs = torch.func.functional_call(running.evaluation_module, (member.params, member.buffers), (x,))
    assert values(rows, "loss")[-1] == pytest.approx(of.loss(outputs, y).mean().item(), rel=1e-9)
    assert WalkLosses(Walk(max_samples=1000), running).part is running.parts.train


def far_squares(outputs, targets):
    return squares(outputs, targets) + 1000.0


def test_rounding_is_what_float32_makes_of_the_losses_on_the_way():
    options = {"model": Line(), "data": Blobs(num_features=3), "batch_size": 8, "lr": 1e-4, "budget": Epochs(1)}
    of = trial(loss=far_squares, optimizer=SGD(momentum=0.0), schedule=Constant(), **options)
    _, _, rows = walked(of, Walk(epochs=(1,), points=3), dtype=torch.float32)
    running = start_training(of, (0,), "alone", torch.float32)
    x, y = running.parts.train.standardized(), running.parts.train.targets
    before = running.initial(0)["weight"].clone()
    running.advance(1e-9)
    after = next(running.trained()).params["weight"]
    errors = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        w = torch.lerp(before, after, share) if share < 1 else after
        exact = torch.lerp(before.double(), after.double(), share) if share < 1 else after.double()
        found = far_squares(x @ w.T, y).double().mean() - far_squares(x.double() @ exact.T, y).mean()
        errors.append(float(found))
    assert values(rows, "rounding") == [pytest.approx(max(errors) - min(errors), rel=0.05)]
    assert 1e-7 < values(rows, "rounding")[0] < 1e-3
    assert values(walked(of, Walk(epochs=(1,), points=3), dtype=torch.float64)[2], "rounding") == [0.0]
    assert not values(walked(of, Walk(epochs=(1,), points=3, barrier_above=0.0))[2], "rounding")


def ripples(outputs, targets):
    return squares(outputs, targets) + 0.01 * torch.sin(200 * outputs[:, 0].mean())


@pytest.mark.parametrize("above", [0.0, 0.002, 0.1, None])
def test_barriers_are_counted_above_a_threshold(above):
    options = {"model": Line(), "data": Blobs(num_features=3), "batch_size": 24, "lr": 0.1, "budget": Epochs(8)}
    of = trial(loss=ripples, optimizer=SGD(momentum=0.0), schedule=Constant(), **options)
    _, _, rows = walked(of, Walk(epochs=tuple(range(1, 9)), points=20, barrier_above=above), dtype=torch.float32)
    rises = values(rows, "barrier")
    assert len(rises) == 8
    assert max(rises) > 0.002
    # rounding is some 1e-8 here
    expected = [float(rise > (1e-6 if above is None else above)) for rise in rises]
    assert values(rows, "is_barrier") == values(rows, "barriers") == expected
    assert bool(sum(expected)) == (above != 0.1)


@pytest.mark.parametrize("max_samples", [None, 10])
def test_losses_may_be_taken_with_the_statistics_of_the_batch(max_samples):
    of = trial(budget=Epochs(1.0), model=MLP(hidden=(6,), batch_norm=True))
    walk = Walk(epochs=(1,), points=1, max_samples=max_samples, batch_norm="batch")
    running, walker, rows = walked(of, walk)
    part = walker.losses.part
    x, y = part.standardized().double(), part.targets
    member = next(running.trained())
    network = of.network((5,), 3).double()
    network.load_state_dict(member.params | member.buffers)
    expected = of.loss(network.train()(x), y).mean().item()
    assert values(rows, "loss")[-1] == pytest.approx(expected, rel=1e-9)
    assert walker.losses.protocol() == {"walk.num_samples": len(y), "walk.batch_norm": "batch", "walk.chunk": len(y)}
    _, other, others = walked(of, dataclasses.replace(walk, batch_norm="recalibrated"))
    assert other.losses.protocol()["walk.batch_norm"] == "recalibrated"
    # all examples are one chunk: both have the same mean, and variances that differ by n / (n - 1)
    assert values(others, "loss")[-1] == pytest.approx(expected, rel=0.1)
    assert values(others, "loss")[-1] != pytest.approx(expected, rel=1e-4)
    assert Walk(batch_norm="running").problems()
