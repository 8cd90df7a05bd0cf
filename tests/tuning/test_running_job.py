"""One job: what it stores, that a killed one goes on as if nothing had been, and what becomes of failures."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import safetensors.torch
import torch

from tests.jobs import finished, job_of, work_on
from tests.trainings import STEADY, Blobs, parts_of, trial
from tune_lb.budgets import Epochs
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.models.mlp import MLP
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.warmup import Warmup
from tune_lb.results.columns import MEMBERS
from tune_lb.results.member_rows import holds_failures
from tune_lb.results.run_files import merge, read_history, read_members, read_predictions
from tune_lb.results.storage import Store
from tune_lb.results.tables import decode_predictions
from tune_lb.search.job import Job, Member
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.space.space import Space
from tune_lb.training.trial import Trial
from tune_lb.tuning.resume import stored_members
from tune_lb.tuning.run_context import RunContext, make_context
from tune_lb.tuning.running_job import RunningJob

NOISY = (SAM(rho=0.1), GradientNoise(alpha=0.01))
EPOCHS = 5


@dataclass(frozen=True)
class Fragile(MLP):
    """Raises when it is used."""

    error: type[Exception] = RuntimeError

    def __call__(self, input_shape, num_classes):
        raise self.error("out\nof order")


def fragile(input_shape, num_classes):
    raise RuntimeError("out of order")


class MisfitNetwork(torch.nn.Linear):
    def forward(self, inputs):
        return super().forward(inputs.flatten(1)[:, 1:])


@dataclass(frozen=True)
class Misfit:
    def __call__(self, input_shape, num_classes):
        return MisfitNetwork(math.prod(input_shape), num_classes)


def a_trial(*remedies, **settings):
    return trial(*remedies, **({"budget": Epochs(EPOCHS)} | settings))


def context_of(folder, of: Trial, execution="alone", checkpoint_every_s=0.0) -> RunContext:
    arm = Arm("arm", *of.remedies, batch_size=of.batch_size, lr=of.lr)
    space = Space(question="?", data=Blobs(), model=of.model, arms=(arm,), metrics=(LambdaMax(),))
    context = make_context(
        "run", Store(folder), space, checked_designs(space), {0: Blobs().load(0)}, {"arm": execution}
    )
    return replace(context, checkpoint_every_s=checkpoint_every_s)


def work_of(folder, of: Trial, execution="alone", **options) -> RunningJob:
    return work_on(job_of(of, **options), parts_of(of), context_of(folder, of, execution))


def rows_of(folder, *but):
    table, problems = read_members(Store(folder))
    assert problems == []
    return [{k: v for k, v in row.items() if k not in but} for row in table.to_pylist()]


def history_of(folder):
    return read_history(Store(folder))[0].drop_columns(["wall_s"]).to_pylist()


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_files_of_a_job(tmp_path):
    of = a_trial()
    work = work_of(tmp_path, of, seeds=(2, 3))
    assert not work.advance(0.0)
    assert files(tmp_path) == [f"checkpoints/{work.now.siblings.key}.safetensors"]
    finished(work)
    stem = f"trials/{work.job.key}.search.0"
    assert files(tmp_path) == [f"{stem}.{kind}.parquet" for kind in ("history", "members", "predictions")]
    times = {
        kind: (tmp_path / f"{stem}.{kind}.parquet").stat().st_mtime_ns for kind in ("history", "members", "predictions")
    }
    assert max(times, key=lambda kind: times[kind]) == "members", "the members commit the job, so they come last"


def test_confirmed_members_have_metrics_and_weights(tmp_path):
    of = a_trial()
    finished(work_of(tmp_path / "a", of, stage="search"))
    finished(work_of(tmp_path / "b", of, stage="confirm", seeds=(2000, 2001)))
    assert all(row["lambda_max"] is None for row in rows_of(tmp_path / "a"))
    confirmed = rows_of(tmp_path / "b")
    assert all(row["lambda_max"] > 0 and row["lambda_max.converged"] for row in confirmed)
    assert all(row["lr_times_lambda_max"] == row["lr"] * row["lambda_max"] for row in confirmed)
    names = [f"weights/{of.trial_id('data')}.{seed}.safetensors" for seed in (2000, 2001)]
    assert [name for name in files(tmp_path / "b") if name.startswith("weights")] == names
    weights = safetensors.torch.load((tmp_path / "b" / names[0]).read_bytes())
    of.model((5,), 3).load_state_dict(weights)


def test_a_row_has_every_column_and_says_who_and_what_it_is(tmp_path):
    of = a_trial(SAM(rho=0.1), GradientNoise(alpha=0.01), GhostBatchNorm(ghost_batch_size=4), Warmup(epochs=1.0))
    work = work_of(tmp_path, of, seeds=(0, 1, 2))
    returned = finished(work)
    table, _ = read_members(Store(tmp_path))
    assert table.schema.names[: len(MEMBERS)] == [column.name for column in MEMBERS]
    assert {"sam.rho", "gradient_noise.gamma", "ghost_batch_norm.ghost_batch_size", "warmup.epochs"} < set(
        table.schema.names
    )
    rows = table.to_pylist()
    assert {key: score[:4] for key, score in returned.items()} == {
        (row["trial_id"], row["seed"]): tuple(
            row[name] for name in ("validation_loss", "validation_error", "validation_soft_error", "test_error")
        )
        for row in rows
    }
    for row in rows:
        expected = {"run": "run", "trial_id": of.trial_id("data"), "stage": "search", "arm": "arm", "split_seed": 0}
        expected |= {"block": row["seed"], "configuration_id": of.configuration_id()}
        expected |= {
            "status": "completed",
            "lr": 0.1,
            "eta_over_b": 0.1 / 8,
            "batch_size": 8,
            "momentum": 0.9,
            "epochs": 5.0,
        }
        expected |= {"updates": 15, "examples": 120, "gradient_evaluations": 30, "execution": "alone", "threads": 1}
        # eta N / (B (1 - momentum))
        expected |= {"noise_scale": pytest.approx(0.1 * 24 / (8 * 0.1)), "sam.rho": 0.1, "warmup.epochs": 1.0}
        assert {name: row[name] for name in expected} == expected
        assert row["generalization_gap"] == row["test_error"] - row["train_error"]
        assert row["space_hash"] == work.context.space_hash
        assert all(row[name] is not None for name in ("wall_s", "peak_memory_bytes", "finished_at", "torch_version"))


def test_history_and_predictions_are_those_of_the_members(tmp_path):
    of = a_trial()
    work = work_of(tmp_path, of, stage="confirm", seeds=(2000, 2001))
    finished(work)
    history = read_history(Store(tmp_path))[0].to_pandas()
    for row in rows_of(tmp_path):
        own = history[history["seed"] == row["seed"]]
        assert list(own[own["name"] == "lr"]["step"]) == [3, 6, 9, 12, 15]
        assert own[own["name"] == "running_train_loss"]["value"].iloc[-1] == row["running_train_loss"]
        # looked at while it trained: the last clean loss is the row's
        assert own[own["name"] == "train_loss"]["value"].iloc[-1] == pytest.approx(row["train_loss"], rel=1e-6)
        assert own["wall_s"].is_monotonic_increasing
    targets = Blobs().load(0).test.targets
    predictions = read_predictions(Store(tmp_path))[0].to_pylist()
    wrong = {p["seed"]: (decode_predictions(p["predictions"], 3) != targets).mean() for p in predictions}
    assert wrong == {row["seed"]: pytest.approx(row["test_error"]) for row in rows_of(tmp_path)}


@pytest.mark.parametrize("stage", ["search", "confirm"])
@pytest.mark.parametrize("execution", ["alone", "together"])
@pytest.mark.parametrize(
    "remedies", [(), NOISY, pytest.param(tuple(STEADY), marks=pytest.mark.slow)], ids=["plain", "noisy", "all"]
)
def test_interrupted_after_any_epoch_and_gone_on_with_it_is_the_same_to_the_last_bit(
    tmp_path, remedies, execution, stage
):
    seeds = {"search": (0, 1), "confirm": (2000, 2001)}[stage]
    of = a_trial(*remedies)
    options = {"execution": execution, "stage": stage, "seeds": seeds}
    finished(work_of(tmp_path / "whole", of, **options))
    for epoch in range(1, EPOCHS):
        broken = work_of(tmp_path / "broken", of, **options)
        broken.advance(0.0)
        assert broken.now.training.step == 3 * epoch, "it goes on where the one before was"
    finished(work_of(tmp_path / "broken", of, **options))
    but = ("wall_s", "finished_at", "peak_memory_bytes", "space_hash")
    assert rows_of(tmp_path / "broken", *but) == rows_of(tmp_path / "whole", *but)
    assert history_of(tmp_path / "broken") == history_of(tmp_path / "whole")
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    for name in files(tmp_path / "whole"):
        if name.startswith("weights"):
            assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("damage", [b"", b"\x10", b"not a checkpoint at all", None])
def test_a_damaged_checkpoint_costs_time_not_truth(tmp_path, damage):
    of = a_trial()
    finished(work_of(tmp_path / "whole", of))
    broken = work_of(tmp_path, of)
    broken.advance(0.0)
    path = tmp_path / "checkpoints" / broken.now.file
    path.write_bytes(path.read_bytes()[:-7] if damage is None else damage)
    again = work_of(tmp_path, of)
    again.advance(0.0)
    assert again.now.training.step == 3
    finished(again)
    assert history_of(tmp_path) == history_of(tmp_path / "whole")
    assert not path.exists()


def test_checkpoints_are_as_rare_as_asked(tmp_path):
    of = a_trial()
    work = work_on(job_of(of), parts_of(of), context_of(tmp_path, of, checkpoint_every_s=60.0))
    work.advance(60.0)
    assert files(tmp_path) == []


@pytest.mark.parametrize("execution", ["alone", "together"])
def test_a_diverged_member_counts_as_chance(tmp_path, execution):
    of = a_trial(model=MLP(hidden=(6,), batch_norm=False), lr=1e12)
    work = work_of(tmp_path, of, execution, stage="confirm", seeds=(2000, 2001))
    chance = (math.inf, pytest.approx(2 / 3), pytest.approx(math.nan, nan_ok=True), pytest.approx(2 / 3))
    assert [score[:4] for score in finished(work).values()] == [chance, chance]
    for row in rows_of(tmp_path):
        assert row["status"] == "diverged"
        assert row["updates"] == row["diverged_at_step"] + 1 <= 15
        assert [row[name] for name in ("train_error", "validation_error", "test_error")] == [pytest.approx(2 / 3)] * 3
        assert [row[name] for name in ("train_loss", "test_loss", "generalization_gap", "lambda_max")] == [None] * 4
    assert read_predictions(Store(tmp_path))[0].num_rows == 0


def failed(folder, seeds, error=RuntimeError) -> str:
    work = work_of(folder, a_trial(model=Fragile(error=error)), seeds=seeds)
    assert finished(work) == {}
    (reason,) = set(work.failures.values())
    return reason


def test_an_exception_in_a_model_is_a_failed_row_per_member(tmp_path):
    reason = failed(tmp_path, (4, 5))
    assert reason.startswith("RuntimeError: out of order (")
    assert "test_running_job.py:" in reason
    rows = rows_of(tmp_path)
    assert [(row["seed"], row["status"], row["error"]) for row in rows] == [
        (4, "failed", reason),
        (5, "failed", reason),
    ]
    assert [(row["test_error"], row["lr"], row["block"]) for row in rows] == [(None, 0.1, 4), (None, 0.1, 5)]
    assert all(holds_failures(name.removeprefix("trials/")) for name in files(tmp_path))
    failed(tmp_path / "b", (6,), torch.OutOfMemoryError)
    assert [row["status"] for row in rows_of(tmp_path / "b")] == ["out_of_memory"]


def test_an_error_of_the_gpu_is_none_of_the_members(tmp_path):
    """After it the process cannot use the GPU any more: its worker dies of it, and another one takes the job."""
    sick = replace(trial(), model=Fragile(error=torch.AcceleratorError))
    with pytest.raises(torch.AcceleratorError):
        finished(work_on(job_of(sick), parts_of(sick), context_of(tmp_path, sick)))
    assert not list(tmp_path.rglob("*.parquet"))


def test_the_reason_names_the_user_s_own_line_b3(tmp_path):
    """In place of the last frame, where that is torch's."""
    work = work_of(tmp_path, a_trial(model=Misfit()))
    finished(work)
    (reason,) = set(work.failures.values())
    assert "\n" not in reason
    assert reason.endswith(f"({__file__}:{MisfitNetwork.forward.__code__.co_firstlineno + 1})")


def of_several(stage="decide", rates=(0.1, 0.05, 0.02), seeds=(1000, 1001)) -> Job:
    """Members of several configurations, as a search hands them out."""
    trials = [a_trial(lr=lr) for lr in rates]
    members = [
        Member(of, of.trial_id("data"), seed, seed % 1000, {}, of.configuration_id()) for seed in seeds for of in trials
    ]
    return Job("arm", stage, tuple(members))


def key_of(row):
    return row["trial_id"], row["seed"]


def test_members_of_several_trials_are_stored_in_one_file_with_the_numbers_that_each_has_alone(tmp_path):
    of, job = a_trial(), of_several()
    scores = finished(work_on(job, parts_of(of), context_of(tmp_path / "all", of, checkpoint_every_s=60.0)))
    assert scores.keys() == {member.key for member in job.members}
    assert len([name for name in files(tmp_path / "all") if name.endswith("members.parquet")]) == 1
    for member in job.members:
        finished(work_on(replace(job, members=(member,)), parts_of(of), context_of(tmp_path / "each", of)))
    but = ("wall_s", "finished_at", "peak_memory_bytes")
    rows, alone = ({key_of(row): row for row in rows_of(tmp_path / name, *but)} for name in ("all", "each"))
    assert rows == alone


@pytest.mark.parametrize("steps", [1, EPOCHS, EPOCHS + 1, 3 * EPOCHS - 1])
def test_a_killed_job_of_several_trials_loses_nothing_that_was_finished_whatever_the_next_job_holds(tmp_path, steps):
    of, job = a_trial(), of_several()
    broken = work_on(job, parts_of(of), context_of(tmp_path, of))
    for _ in range(steps):
        broken.advance(0.0)
    stored = {key_of(row): row["finished_at"] for row in rows_of(tmp_path)}
    left = [member for member in reversed(job.members) if member.key not in stored]
    assert len(stored) == 2 * (steps // EPOCHS), "siblings are one trial of two seeds"
    for start in (0, 2):
        finished(work_on(replace(job, members=tuple(left[start : start + 2])), parts_of(of), context_of(tmp_path, of)))
    finished(work_on(replace(job, members=tuple(left[4:])), parts_of(of), context_of(tmp_path, of)))
    rows = rows_of(tmp_path)
    assert sorted(map(key_of, rows)) == sorted(member.key for member in job.members)
    assert all(row["finished_at"] == stored[key_of(row)] for row in rows if key_of(row) in stored)


def test_the_same_job_taken_up_again_trains_only_what_is_not_stored(tmp_path):
    of, job = a_trial(), of_several()
    broken = work_on(job, parts_of(of), context_of(tmp_path, of))
    for _ in range(EPOCHS + 2):
        broken.advance(0.0)
    again = work_on(job, parts_of(of), context_of(tmp_path, of))
    assert len(again.scores) == 2
    assert sum(len(own.members) for own in again.waiting) == 4
    assert finished(again).keys() == {member.key for member in job.members}
    assert len(rows_of(tmp_path)) == 6


def test_a_trial_that_fails_leaves_the_others_of_its_job_alone(tmp_path):
    of, job = a_trial(), of_several()
    lost = [replace(m, trial=a_trial(lr=0.1, model=fragile)) for m in job.members[::3]]
    work = work_on(
        replace(job, members=(*lost, *job.members[1:3], *job.members[4:])), parts_of(of), context_of(tmp_path, of)
    )
    scores = finished(work)
    assert work.failures.keys() == {member.key for member in lost}
    assert len(scores) == 4
    statuses = {key_of(row): row["status"] for row in rows_of(tmp_path)}
    assert statuses == dict.fromkeys(scores, "completed") | dict.fromkeys(work.failures, "failed")


def test_the_first_of_each_measured_block_is_measured_and_those_of_watched_blocks_are_looked_at(tmp_path):
    of = a_trial()
    seeds = [first + 100_000 * j for first in range(2000, 2004) for j in range(2)]
    context = replace(context_of(tmp_path, of), measured_blocks=3, watched_blocks=1)
    finished(work_on(job_of(of, seeds, "confirm"), parts_of(of), context))
    rows = {row["seed"]: row for row in rows_of(tmp_path)}
    assert {seed for seed, row in rows.items() if row["lambda_max"] is not None} == {2000, 2001, 2002}
    assert all(row["lambda_max.reason"] is None for row in rows.values())
    looked = {row["seed"] for row in history_of(tmp_path) if row["name"] == "train_loss"}
    assert looked == {2000, 102_000}


def test_rows_of_all_kinds_merge_into_one_table(tmp_path):
    of = a_trial()
    finished(work_of(tmp_path, of))
    finished(work_of(tmp_path, of, stage="confirm", seeds=(2000,)))
    failed(tmp_path, (7,))
    merged = merge(Store(tmp_path))
    assert merged.problems == ()
    assert merged.num_members == 4


def test_objectives_are_known_when_the_job_ends_those_that_are_measured_too_and_of_a_worker_that_died(tmp_path):
    of, names = a_trial(), ("validation_loss", "lambda_max", "-gradient_evaluations")
    context = replace(context_of(tmp_path, of), metrics_on="all", objectives=names)
    scores = finished(work_on(job_of(of), parts_of(of), context))
    rows = {(row["trial_id"], row["seed"]): row for row in rows_of(tmp_path)}
    assert len(scores) == 2
    for key, score in scores.items():
        row = rows[key]
        assert score.objectives == (row["validation_loss"], row["lambda_max"], -row["gradient_evaluations"])
    assert finished(work_on(job_of(of), parts_of(of), context)) == scores
    stored = stored_members(Store(tmp_path), context).scored
    assert {key: score.objectives for key, score in stored.items()} == {
        key: score.objectives for key, score in scores.items()
    }
