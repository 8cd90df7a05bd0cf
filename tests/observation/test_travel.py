"""Distance from the start and path from epoch end to epoch end: of every member, however it trains, killed or not."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
import safetensors
import safetensors.torch
import torch

from tests.jobs import finished, job_of, work_on
from tests.trainings import Blobs, flat, parts_of, trial
from tests.trainings import training as start_training
from tests.tuning.test_running_job import a_trial, context_of, history_of, rows_of
from tune_lb.budgets import Epochs
from tune_lb.models.mlp import MLP
from tune_lb.observation.observer import Observer
from tune_lb.observation.travel import distance
from tune_lb.optimizers.elementwise import SGD
from tune_lb.remedies import EMA, GradientNoise, PostLocalSGD
from tune_lb.schedules import Constant
from tune_lb.space.observation import Walk
from tune_lb.training.phase import Phase
from tune_lb.training.phased_training import begun

COLUMNS = ("distance_from_start", "epoch_path_length")


def travelled(training):
    observer = Observer(training, watched=False)
    while not training.done:
        observer.advance()
    return {
        seed: tuple(observer.columns(seed)[name] for name in COLUMNS)
        for group in training.groups
        for seed in group.seeds
    }


def by_hand(of, seed, dtype=torch.float64):
    """Both from the weights of a training of its own, epoch by epoch."""
    running = begun(of, [seed], parts_of(of), dtype=dtype)
    points = [flat(running.initial(seed)).double()]
    while not running.done:
        running.advance()
        points.append(flat(running.iterates()[seed][0]).double())
    path = sum(float((b - a).norm()) for a, b in itertools.pairwise(points))
    return pytest.approx((float((points[-1] - points[0]).norm()), path), rel=1e-6)


@pytest.mark.parametrize("execution", ["alone", "together"])
@pytest.mark.parametrize(
    "of",
    [
        trial(budget=Epochs(3.5)),
        # an average that is evaluated is not where the member is; several replicas are where their mean is
        trial(EMA(half_life=1.0), budget=Epochs(3.0)),
        trial(PostLocalSGD(local_batch_size=4, local_steps=2, start=0.0), budget=Epochs(2.0)),
        trial(phases=(Phase(epochs=1.0, batch_size=4),), budget=Epochs(2.0)),
    ],
    ids=["plain", "average", "replicas", "phases"],
)
def test_they_are_those_of_the_weights(of, execution):
    found = travelled(begun(of, [0, 1], parts_of(of), execution=execution, dtype=torch.float64))
    for seed in (0, 1):
        assert found[seed] == by_hand(of, seed)
        assert 0 < found[seed][0] <= found[seed][1]


def test_gradient_descent_in_one_direction_goes_straight():
    # a loss that is linear in the bias alone: every update is lr times the same gradient
    def slope(outputs, targets):
        return outputs[:, 0]

    data, model = Blobs(num_features=3), MLP(hidden=(), batch_norm=False)
    of = trial(data=data, model=model, loss=slope, batch_size=24, lr=0.1, budget=Epochs(5), schedule=Constant())
    of = replace(of, optimizer=SGD(momentum=0.0))
    running = start_training(of)
    mean = running.parts.train.standardized().double().mean(0)
    length = 5 * 0.1 * float((mean @ mean + 1) ** 0.5)
    assert travelled(running)[0] == pytest.approx((length, length), rel=1e-9)


def test_distance_by_hand():
    a = {"w": torch.tensor([1.0, 2.0]), "b": torch.tensor([[0.0]])}
    assert distance(a, {"w": torch.tensor([1.0, 5.0]), "b": torch.tensor([[4.0]])}) == 5.0
    assert distance({}, {}) == 0.0


@pytest.mark.parametrize("execution", ["alone", "together"])
def test_a_diverged_member_has_none(execution):
    of = trial(lr=1e30, budget=Epochs(2.0), model=MLP(hidden=(6,), batch_norm=False), optimizer=SGD())
    assert travelled(start_training(of, (0, 1), execution, torch.float32)) == {0: (None, None), 1: (None, None)}


@pytest.mark.parametrize("points", [0, 2])
@pytest.mark.parametrize("remedies", [(), (GradientNoise(alpha=0.01),)], ids=["plain", "noisy"])
def test_a_walk_goes_on_after_a_kill_as_if_nothing_had_been(tmp_path, remedies, points):
    of, seeds = a_trial(*remedies), (2000, 2001)

    def work(folder):
        context = replace(context_of(folder, of), metrics=(), walk=Walk(epochs=(1, 2, 3, 5), points=points))
        return work_on(job_of(of, seeds, "confirm"), parts_of(of), context)

    finished(work(tmp_path / "whole"))
    for _ in range(4):
        work(tmp_path / "broken").advance(0.0)
    finished(work(tmp_path / "broken"))
    found, expected = history_of(tmp_path / "broken"), history_of(tmp_path / "whole")
    assert [row for row in found if row["name"] != "walk.wall_s"] == [
        row for row in expected if row["name"] != "walk.wall_s"
    ]
    cosines = [row["step"] for row in found if row["name"] == "walk.cosine" and row["seed"] == 2000]
    # epochs of three updates; 1 to 3 are one stretch
    assert cosines == [2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15]
    clean = [row for row in found if row["name"] == "walk.clean_cosine" and row["seed"] == 2000]
    assert len(clean) == len(remedies) * len(cosines)
    but = ("wall_s", "finished_at", "peak_memory_bytes", "space_hash", "walk.wall_s")
    assert rows_of(tmp_path / "broken", *but) == rows_of(tmp_path / "whole", *but)
    modes = {row["walk.batch_norm"] for row in rows_of(tmp_path / "whole")}
    assert modes == ({"recalibrated"} if points else {None})


def test_a_checkpoint_of_before_says_nothing_of_the_path(tmp_path):
    of = a_trial()
    broken = work_on(job_of(of), parts_of(of), context_of(tmp_path, of))
    broken.advance(0.0)
    path = tmp_path / "checkpoints" / broken.now.file
    with safetensors.safe_open(path, "pt") as file:
        state = json.loads(file.metadata()["state"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    del state["path_lengths"]
    path.write_bytes(safetensors.torch.save(tensors, metadata={"state": json.dumps(state)}))
    finished(work_on(job_of(of), parts_of(of), context_of(tmp_path, of)))
    for row in rows_of(tmp_path):
        assert row["epoch_path_length"] is None
        expected = by_hand(of, row["seed"], torch.float32).expected[0]
        assert row["distance_from_start"] == pytest.approx(expected, rel=1e-6)
