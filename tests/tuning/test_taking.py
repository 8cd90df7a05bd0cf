"""Arms that take from other arms: what is kept of members, who waits for whom, and that a start from an arm is a phase before."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import safetensors.torch
import torch

from tests.here import Here
from tests.trainings import Blobs, parts_of
from tune_lb.budgets import Epochs, Updates
from tune_lb.errors import RequestError
from tune_lb.models.mlp import MLP
from tune_lb.models.stored_weights import StoredWeights
from tune_lb.observation.variance_profile import variance_profile
from tune_lb.remedies.batch_growth import BatchGrowth
from tune_lb.remedies.ema import EMA
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.layer_noise import LayerNoise
from tune_lb.results.run_files import read_members
from tune_lb.results.storage import Store
from tune_lb.schedules import Constant
from tune_lb.search.expected import expected_members
from tune_lb.settings.domain import over
from tune_lb.settings.identity import identity
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.space.observation import Watch
from tune_lb.space.smoke import smoke
from tune_lb.space.space import Space
from tune_lb.streams import generator
from tune_lb.training.phase import Phase
from tune_lb.training.phased_training import begun
from tune_lb.training.training import Training
from tune_lb.tuning.cost_estimate import estimate
from tune_lb.tuning.preparation import prepare
from tune_lb.tuning.request import Request
from tune_lb.tuning.taking import made_whole

PLAIN = {"derived": False, "placebo": False, "compute_matched": False, "crossings": None}
KEEPING = Watch(metrics=(), keep_weights=(1, 2), keep_weights_of=("small",))


def a_space(*arms, **settings):
    """A small batch whose weights are kept, and a large one that starts from them."""
    chosen = {
        "question": "?",
        "data": Blobs(),
        "model": MLP(hidden=(6,)),
        "lr": 0.05,
        "budget": Epochs(3.0),
        "batch_size": 12,
        "confirm_blocks": 2,
        "watched_blocks": 1,
        "watch": KEEPING,
    }
    own = arms or (warm("warm", 1), Arm("small", batch_size=4))
    return Space(arms=own, **(PLAIN | chosen | settings))


def warm(name, epoch, *remedies, **settings):
    return Arm(name, *remedies, initialization=StoredWeights(arm="small", epoch=epoch), **settings)


def weights(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "weights").iterdir())}


def members(run, arm):
    return {(m.trial.split_seed, m.seed): m for job in run.jobs if job.arm == arm for m in job.members}


@pytest.mark.parametrize("remedies", [(), (GhostBatchNorm(ghost_batch_size=4),), (EMA(half_life=1.0),)], ids=str)
@pytest.mark.parametrize(("execution", "stacked"), [("alone", 1), ("together", 8)])
def test_a_member_goes_on_from_where_that_of_its_block_and_seed_was(tmp_path, remedies, execution, stacked):
    arms = warm("warm", 2, *remedies), Arm("small", *remedies, batch_size=4)
    run = Here(tmp_path, a_space(*arms), execution, stacked).end()
    small, large = members(run, "small"), members(run, "warm")
    assert len(small) == len(large) == 2
    for key, member in large.items():
        parts = parts_of(member.trial)
        first = Training(small[key].trial, [member.seed], parts)
        first.advance()
        first.advance()
        trial = dataclasses.replace(member.trial, initialization=None)
        then = Training(trial, [member.seed], parts, starts=first.iterates())
        while not then.done:
            then.advance()
        found = safetensors.torch.load_file(tmp_path / "weights" / f"{member.trial_id}.{member.seed}.safetensors")
        for name, value in (expected := next(then.trained())).params.items():
            assert torch.allclose(found[name], value, rtol=1e-4, atol=1e-6), (name, expected)
        if execution == "alone":
            assert all(torch.equal(found[name], value) for name, value in expected.params.items())


def test_what_is_kept_is_what_a_phase_would_leave(tmp_path):
    run = Here(tmp_path, a_space(schedule=Constant())).end()
    (small, *_), (large, *_) = (members(run, arm).values() for arm in ("small", "warm"))
    phased = dataclasses.replace(large.trial, initialization=None, phases=(Phase(epochs=1, batch_size=4),))
    running = begun(phased, [small.seed], parts_of(phased))
    running.advance()
    stored = safetensors.torch.load_file(tmp_path / "weights" / f"{small.trial_id}.{small.seed}.epoch1.safetensors")
    params, buffers = running.iterates()[small.seed]
    assert stored.keys() == (params | buffers).keys()
    assert all(torch.equal(stored[name], value) for name, value in (params | buffers).items())


def test_the_weights_kept_are_those_after_the_epochs_asked_for(tmp_path):
    watch = Watch(metrics=(), keep_weights=2)
    run = Here(tmp_path, a_space(Arm("small", batch_size=4), Arm("large"), budget=Epochs(5.0), watch=watch)).end()
    for arm in ("small", "large"):
        member = members(run, arm)[2000, 2000]
        found = {name: content for name, content in weights(tmp_path).items() if name.startswith(member.trial_id)}
        names = {name.removeprefix(f"{member.trial_id}.2000.") for name in found}
        assert names == {"safetensors", "epoch0.safetensors", "epoch2.safetensors", "epoch4.safetensors"}
        running = Training(member.trial, [2000], parts_of(member.trial))
        for epoch in range(5):
            if epoch % 2 == 0:
                stored = safetensors.torch.load(found[f"{member.trial_id}.2000.epoch{epoch}.safetensors"])
                params, buffers = running.iterates()[2000]
                assert stored.keys() == (params | buffers).keys()
                assert all(torch.equal(stored[name], value) for name, value in (params | buffers).items())
            running.advance()
    assert not [name for name in weights(tmp_path) if ".2001.epoch" in name], "only the first block is watched"


def test_what_others_take_from_is_kept_in_every_block_and_of_that_arm_alone(tmp_path):
    run = Here(tmp_path, a_space(warm("warm", 1), Arm("small", batch_size=4), Arm("large"))).end()
    small = members(run, "small").values()
    kept = {name for name in weights(tmp_path) if ".epoch" in name}
    assert kept == {f"{m.trial_id}.{m.seed}.epoch{epoch}.safetensors" for m in small for epoch in (1, 2)}


@pytest.mark.parametrize(("execution", "at"), [("alone", 1), ("alone", 3), ("together", 1), ("together", 3)])
def test_a_killed_search_goes_on_with_the_same_files(tmp_path, execution, at):
    of = a_space(warm("warm", 1), warm("warmer", 2), Arm("small", batch_size=4))
    Here(tmp_path / "whole", of, execution, 8).end()
    first = Here(tmp_path / "cut", of, execution, 8)
    for _ in range(at):
        job = first.search.take()
        if job is None:
            break
        work = first.work(job)
        # the last one is killed after an epoch, with what it stored
        for _ in range(50):
            if work.advance(0.0) or len(first.jobs) == at - 1:
                break
        else:
            raise AssertionError
        first.jobs.append(job)
        if len(first.jobs) < at:
            first.search.observe(work.finish())
    again = Here(tmp_path / "cut", of, execution, 8)
    again.search.observe({key: score for key, score in first.search.scores.items()})
    again.end()
    assert again.search.finished
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def test_many_starts_cost_one_prefix(tmp_path):
    epochs = (0, 1, 2, 3)
    watch = Watch(metrics=(), keep_weights=1, keep_weights_of=("small",))
    arms = [warm(f"warm_{epoch}", epoch) for epoch in epochs]
    run = Here(tmp_path, a_space(*arms, Arm("small", batch_size=4), watch=watch)).end()
    rows, _ = read_members(run.context.store)
    updates = {(r["arm"], r["seed"]): r["updates"] for r in rows.to_pylist()}
    assert sum(updates.values()) == 2 * (3 * 24 // 4 + len(epochs) * 3 * 24 // 12)
    row = next(row for row in rows.to_pylist() if row["arm"] == "warm_2")
    assert (row["initialization.arm"], row["initialization.epoch"], row["initialization.path"]) == ("small", 2, "")


def test_a_member_whose_lender_diverged_fails_with_the_reason(tmp_path):
    arms = warm("warm", 1), Arm("small", batch_size=4, lr=1e9), Arm("large")
    run = Here(tmp_path, a_space(*arms, model=MLP(hidden=(6,), batch_norm=False))).end()
    rows, _ = read_members(run.context.store)
    status = {(r["arm"], r["status"]) for r in rows.to_pylist()}
    assert status == {("small", "diverged"), ("warm", "failed"), ("large", "completed")}
    reason = next(r["error"] for r in rows.to_pylist() if r["arm"] == "warm")
    assert "arm 'small' left no weights after epoch 1" in reason
    assert "diverged" in reason


def test_the_plan_counts_the_files_of_weights(tmp_path):
    of = a_space()
    run = Here(tmp_path, of).end()
    parts = {d.name: parts_of(d.template) for d in run.designs}
    seconds = dict.fromkeys(parts, 1e-3)
    given = {"concurrency": 1, "start_s": 0.0, "already_done": 0}
    with_files = estimate(of, run.designs, parts, seconds, **given).disk_bytes
    without = estimate(dataclasses.replace(of, watch=None), run.designs, parts, seconds, **given).disk_bytes
    headers = 8 + 1000  # of a file, at most
    stored = [len(content) for name, content in weights(tmp_path).items() if ".epoch" in name]
    assert len(stored) == 2 * 2
    assert sum(stored) - headers * len(stored) <= with_files - without <= sum(stored)


def test_a_smoke_run_takes_what_is_there_at_the_start(tmp_path):
    small = smoke(a_space(warm("warm", 30), Arm("small", batch_size=4), watch=Watch(metrics=(), keep_weights=(30,))))
    assert small.watch.keep_weights == (0,)
    assert small.arms[0].settings["initialization"] == StoredWeights(arm="small", epoch=0)
    assert small.budget == Updates(2)


def test_the_identity_of_a_start_from_a_file_is_what_it_was(tmp_path):
    assert set(identity(StoredWeights("w.safetensors"))) == {"type", "path", "content"}
    one, other = (StoredWeights(arm="small", epoch=epoch) for epoch in (1, 2))
    assert identity(one) != identity(other)
    with pytest.raises(RequestError):
        StoredWeights("missing.safetensors")(MLP(hidden=(6,))((5,), 3))


@pytest.mark.parametrize(
    ("settings", "epoch", "words"),
    [
        ({"budget": Epochs(1.0)}, 2, " after epoch 2: it trains for 1 whole epochs only"),
        ({"model": MLP(hidden=(7,))}, 1, ": it is of another network: arm 'small' has another shape of"),
        ({"model": MLP(hidden=(6, 6))}, 1, ": it is of another network: arm 'small' lacks"),
    ],
    ids=["too short", "other shapes", "other layers"],
)
def test_what_the_data_show_is_refused_before_anything_is_trained(tmp_path, settings, epoch, words):
    asked = a_space(warm("warm", epoch), Arm("small", batch_size=4, **settings))
    with pytest.raises(RequestError) as caught:
        prepare(Request(asked, "run", Store(tmp_path)))
    (line,) = caught.value.problems
    assert line.startswith(f"arm 'warm' takes weights of arm 'small'{words}")


def noisy(**fields):
    remedy = LayerNoise(scale=1.0, small_batch_size=4, profile_of="small", **fields)
    return Arm("noisy", remedy, batch_size=12)


GROWING = Arm("small", BatchGrowth(initial=2, every=1.0), batch_size=4)


def row_by_hand(trial, parts, seed, step, params, buffers):
    """Return V_l from one gradient after the other: over strided batches of one order of the train set, in training mode."""
    order = torch.randperm(24, generator=generator(trial.draws, seed, "variance_profile", step))
    module = trial.network(parts.input_shape, parts.num_classes).train()
    gradients = []
    for index in order.reshape(4, 6).T:
        module.load_state_dict(params | buffers)
        loss = torch.nn.functional.cross_entropy(module(parts.train.standardized(index)), parts.train.targets[index])
        gradients.append(torch.autograd.grad(loss, list(module.parameters())))
    return [torch.stack(layer).var(0).mean().item() for layer in zip(*gradients, strict=True)]


def test_a_profile_is_that_of_the_lender_s_kept_weights(tmp_path):
    watch = Watch(metrics=(), keep_weights=(0, 2))
    run = Here(tmp_path, a_space(noisy(), Arm("small", batch_size=4), watch=watch)).end()
    for key, member in members(run, "noisy").items():
        small = members(run, "small")[key]
        parts = parts_of(small.trial)
        whole = made_whole(member, run.context.store, watch, lambda trial, parts=parts: parts)
        (remedy,) = whole.remedies
        running = Training(small.trial, [small.seed], parts)
        expected = []
        for _ in range(3):
            params, buffers = running.iterates()[small.seed]
            expected.append(row_by_hand(small.trial, parts, small.seed, running.step, params, buffers))
            running.advance()
        assert remedy.profile_of == ""
        assert len(remedy.profile) == 3
        assert list(remedy.profile[0]) == pytest.approx(expected[0], rel=1e-4)
        assert remedy.profile[1] == remedy.profile[0], "epoch 1 is not kept: the row of the one before"
        assert list(remedy.profile[2]) == pytest.approx(expected[2], rel=1e-4)
        # and the member is that of the trial with this profile
        then = Training(whole, [member.seed], parts)
        while not then.done:
            then.advance()
        found = safetensors.torch.load_file(tmp_path / "weights" / f"{member.trial_id}.{member.seed}.safetensors")
        assert all(torch.equal(found[name], value) for name, value in next(then.trained()).params.items())
    rows, _ = read_members(run.context.store)
    row = next(row for row in rows.to_pylist() if row["arm"] == "noisy")
    assert (row["layer_noise.profile_of"], row["layer_noise.profile"]) == ("small", "()")


def test_a_profile_of_every_epoch_is_the_one_that_is_measured_while_the_lender_trains(tmp_path):
    of = a_space(noisy(on="activation"), Arm("small", batch_size=4), watch=Watch(metrics=(), keep_weights=1))
    run = Here(tmp_path, of).end()
    (member, *_), (small, *_) = (members(run, arm).values() for arm in ("noisy", "small"))
    parts = parts_of(small.trial)
    (remedy,) = made_whole(member, run.context.store, of.watch, lambda trial: parts).remedies
    measured = variance_profile(small.trial, parts, seed=small.seed, num_pieces=6, on="activation")
    assert len(remedy.profile) == 4, "the weights at the end are kept too"
    assert [list(row) for row in remedy.profile[:3]] == [pytest.approx(row, rel=1e-4) for row in measured]


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        (
            (noisy(), Arm("small", batch_size=6)),
            " for the variances of its batches of 6: give small_batch_size = 6, not 4",
        ),
        (
            (noisy(), Arm("small", BatchGrowth(initial=2, every=1.0), batch_size=4)),
            " for their variances, and it trains with batches of several",
        ),
        ((noisy(), Arm("small", batch_size=4, data=Blobs(num_train=30))), ", which trains on other data"),
        ((noisy(), Arm("small", batch_size=4, model=MLP(hidden=(7,)))), ": it is of another network"),
    ],
    ids=["size", "sizes", "data", "network"],
)
def test_variances_that_are_not_those_of_the_taker_are_refused(tmp_path, arms, words):
    with pytest.raises(RequestError) as caught:
        prepare(Request(a_space(*arms, watch=Watch(metrics=(), keep_weights=1)), "run", Store(tmp_path)))
    (line,) = caught.value.problems
    assert line.startswith(f"arm 'noisy' takes weights of arm 'small'{words}")


def test_the_plan_counts_the_gradients_that_a_profile_takes():
    watch = Watch(metrics=(), keep_weights=1, keep_weights_of=("small",))
    taking = a_space(noisy(), Arm("small", batch_size=4), watch=watch)
    plain = a_space(
        Arm("noisy", LayerNoise(scale=1.0, profile=((1.0,) * 6,)), batch_size=12),
        Arm("small", batch_size=4),
        watch=watch,
    )
    works = []
    for of in (taking, plain):
        designs = checked_designs(of)
        parts = {design.name: parts_of(design.template) for design in designs}
        found = estimate(of, designs, parts, {"noisy": 1.0, "small": 10.0}, concurrency=1, start_s=0.0, already_done=0)
        works.append(next(arm.core_s for arm in found.arms if arm.arm == "noisy"))
    # two members, weights after epochs 0 to 3, six batches of four from 24 examples, at 10 s each
    assert works[0] - works[1] == pytest.approx(2 * 4 * 6 * 10.0, abs=5.0)


def test_a_searched_epoch_takes_from_members_that_are_trained_in_the_blocks_of_the_search(tmp_path):
    watch = Watch(metrics=(), keep_weights=1, keep_weights_of=("small",))
    arms = warm("warm", over([0, 1, 3])), Arm("small", batch_size=4)
    of = a_space(*arms, watch=watch, num_samples=3, candidates=2, decide_blocks=2)
    run = Here(tmp_path, of).end()
    assert run.search.finished
    lent = {(m.trial.split_seed, m.seed) for job in run.jobs if job.stage == "lent" for m in job.members}
    assert lent == {(0, 0), (1000, 1000), (1001, 1001)}
    stages = Counter((job.arm, job.stage) for job in run.jobs for _ in job.members)
    expected = {
        ("warm", "search"): 3,
        ("warm", "decide"): 4,
        ("warm", "confirm"): 2,
        ("small", "lent"): 3,
        ("small", "confirm"): 2,
    }
    assert stages == expected
    for design in run.designs:
        found = {stage: n for stage, n in expected_members(of, design).items() if n}
        assert found == {stage: n for (arm, stage), n in expected.items() if arm == design.name}
    for job in run.jobs:
        if job.arm == "warm":
            for member in job.members:
                lender = member.lenders["small"]
                assert (lender.trial.split_seed, lender.seed) == (member.trial.split_seed, member.seed)
    # each begins where the small batch's member of the search's split was
    starts = {m.trial.initialization.epoch: m for job in run.jobs if job.stage == "search" for m in job.members}
    assert sorted(starts) == [0, 1, 3]
    stored = [name for name in weights(tmp_path) if ".epoch" in name]
    assert len(stored) == 5 * 4
    parts = {
        d.name: parts_of(d.template.resolved({n: x.to_check()[0] for n, x in d.dimensions.items()}))
        for d in run.designs
    }
    given = {"concurrency": 1, "start_s": 0.0, "already_done": 0}
    plain = dataclasses.replace(watch, keep_weights_of=("warm",), keep_weights=(99,))
    more, less = (
        estimate(dataclasses.replace(of, watch=w), run.designs, parts, dict.fromkeys(parts, 1e-3), **given).disk_bytes
        for w in (watch, plain)
    )
    size = sum(len(weights(tmp_path)[name]) for name in stored)
    assert size - 1000 * len(stored) <= more - less <= size


def test_a_searched_arm_lends_what_it_searched_with(tmp_path):
    arms = warm("warm", over([1, 2])), Arm("small", batch_size=4, lr=over([0.02, 0.05, 0.1]))
    of = a_space(*arms, num_samples=3, candidates=2, decide_blocks=2)
    run = Here(tmp_path, of).end()
    assert run.search.finished
    assert not run.search.failed
    stages = Counter((job.arm, job.stage) for job in run.jobs for _ in job.members)
    assert {stage: n for (arm, stage), n in stages.items() if arm == "small"} == {
        "search": 3,
        "decide": 4,
        "confirm": 2,
    }
    chosen = run.search.selected("small").configuration_id
    lenders = {m.lenders["small"].configuration_id for job in run.jobs if job.arm == "warm" for m in job.members}
    assert lenders == {chosen}
