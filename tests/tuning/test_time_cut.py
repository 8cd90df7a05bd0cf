"""A search that is slower than it was timed: what is cut, so that confirmation still fits."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.small_runs import ASKED, SPACE, search
from tests.search.test_planner import FACTS, score
from tests.space.test_space import space
from tests.tuning.test_time_budget import estimate
from tune_lb.cli.output import Output
from tune_lb.cli.time_budget import within_time
from tune_lb.results.run_files import read_space
from tune_lb.results.storage import Store
from tune_lb.search.job_size import JobSize
from tune_lb.search.planner import Search
from tune_lb.settings.domain import over
from tune_lb.space.arm import Arm
from tune_lb.tuning.planned_searcher import PlannedSearcher
from tune_lb.tuning.preparation import prepare
from tune_lb.tuning.progress import SearchProgress
from tune_lb.tuning.request import Request
from tune_lb.tuning.time_cut import begun, cut_to_fit, moved, work_left
from tune_lb.tuning.tuner import _Search

NUMBERS = {"num_samples": 12, "candidates": 3, "decide_blocks": 2, "confirm_blocks": 8, "block_seeds": 1}
# six arms of their own with n + 6 + s members, two derived ones with s, all of two seconds
WORK = 6 * (12 + 6 + 8) + 2 * 8


def begun_search(*arms, **changes):
    return Search(space(*arms, **{**NUMBERS, **changes}), FACTS, size=JobSize(1, workers=1))


def cost(state):
    return estimate(state.space, looking_s=0.0)


@pytest.mark.parametrize(
    ("there", "samples", "blocks"),
    [
        (WORK, 12, 8),
        (WORK / 1.04, 12, 8),
        (6 * 9 + 100, 9, 8),
        (6 * 9 + 99, 8, 8),
        (6 * 3 + 100, 3, 8),
        (6 * 3 + 99, 3, 7),
        (54 + 8 * 4, 3, 4),
        (10, 3, 3),
    ],
)
def test_the_search_gives_way_first_and_then_the_blocks(there, samples, blocks):
    state = begun_search()
    assert work_left(state, cost(state)) == pytest.approx(2.0 * WORK)
    found = cut_to_fit(state, cost(state), 3.0 * WORK, 3.0 * there)
    if (samples, blocks) == (12, 8):
        assert found is None
        return
    assert (found.space.num_samples, found.space.confirm_blocks) == (samples, blocks)
    assert (f"{samples} configurations are searched in an arm in place of 12" in found.said) == (samples < 12)
    assert (f"{blocks} confirm blocks in place of 8" in found.said) == (blocks < 8)
    assert ("it will take longer all the same" in found.said) == (there == 10)


def test_what_is_begun_is_not_cut():
    state = begun_search()
    searcher = PlannedSearcher(state, None, "1")
    searcher.take_turns()
    given = Counter()
    for _ in range(33):
        job = state.take(sorted(state.arms, key=searcher.given.__getitem__))
        searcher.given[job.arm] += 1
        given[job.arm] += 1
        if sum(given.values()) < 30:
            state.observe({member.key: score(member.configuration_id, member.key) for member in job.members})
    assert set(given.values()) == {5, 6}, "arms take turns"
    assert begun(state) == 6
    found = cut_to_fit(state, cost(state), 100.0, 1.0)
    assert (found.space.num_samples, found.space.confirm_blocks) == (6, 3)
    after = moved(state, found.space)
    assert after.busy == state.busy
    assert after.running.keys() == state.running.keys()
    assert after.scores == state.scores
    after.observe({key: score("x", key) for key in state.busy})
    left = [member for job in iter(after.take, None) if job.stage == "search" for member in job.members]
    assert len(left) == 6 * 6 - 33, "as many of every arm"


def test_confirm_blocks_that_are_begun_stay():
    state = begun_search(num_samples=1, lr=0.1, eta_over_b=None)
    while (job := state.take()) is not None and job.members[0].block < 5:
        state.observe({member.key: score(member.configuration_id, member.key) for member in job.members})
    found = cut_to_fit(state, cost(state), 100.0, 1.0)
    assert found.space.confirm_blocks == 6


def test_a_grid_is_tried_whole():
    arms = Arm("small", batch_size=4), Arm("large")
    state = begun_search(*arms, sampler="grid", eta_over_b=over([1e-3, 1e-4, 1e-2, 3e-3]), num_samples=4)
    found = cut_to_fit(state, cost(state), 100.0, 50.0)
    assert (found.space.num_samples, found.space.confirm_blocks < 8) == (4, True)


def test_a_cut_is_said_written_down_and_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of = SPACE.overridden([("num_samples", 9), ("confirm_blocks", 7), ("candidates", 2)])
    asked = {**ASKED, "options": {"members_per_arm": 99}}
    request = Request(of, "tiny", Store(tmp_path / "runs" / "tiny"), asked, deadline_s=time.monotonic() + 1e-3)
    seen: list[SearchProgress] = []
    found = _Search(prepare(request), seen.append)
    found.searcher = PlannedSearcher(found.state, found.ledger, "1")
    found.watch(False)
    assert found.searcher.search is found.state
    (said,) = seen[-1].cut
    assert said.startswith(
        "cut to end in time, being slower than timed: 2 configurations are searched in an arm in place of 9, 3 c"
    )
    known = read_space(request.run)
    assert (known["num_samples"], known["confirm_blocks"], known["extended"]) == (2, 3, [])
    numbers = {"num_samples": 2, "candidates": 2, "decide_blocks": 1, "confirm_blocks": 3, "block_seeds": 1}
    assert known["asked"]["options"] == numbers
    again = within_time(Request(SPACE, "tiny", request.run, ASKED), "1h", prepare, Output(False))
    assert {name: getattr(again.space, name) for name in numbers} == numbers
    assert "num_samples = 2, candidates = 2" in capsys.readouterr().out
    assert len(search(tmp_path, again.space).trained) == 2 * (2 + 2 + 3)
    assert not found.cut[1:]


def test_decide_blocks_give_way_where_none_is_begun():
    state = begun_search(decide_blocks=40, num_samples=3)
    # six arms of n + 3 r + s members, two with s
    work = 6 * (3 + 3 * 40 + 8) + 2 * 8
    found = cut_to_fit(state, cost(state), float(work), 6 * (3 + 3 * 5 + 8) + 16.0)
    assert (found.space.num_samples, found.space.decide_blocks, found.space.confirm_blocks) == (3, 5, 8)
    assert "5 decide blocks in place of 40" in found.said
    while not any(job.stage == "decide" for job in state.running.values()):
        job = state.take()
        if job.stage == "search":
            state.observe({member.key: score(member.configuration_id, member.key) for member in job.members})
    found = cut_to_fit(state, cost(state), float(work), 1.0)
    assert (found.space.decide_blocks, found.space.confirm_blocks) == (40, 3), "arms are decided in the same blocks"
