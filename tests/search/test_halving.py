"""Successive halving in the planner, driven by made-up scores: who goes on, how far, and that no order of arrival matters."""

from __future__ import annotations

import itertools
import json
import math
import random

import optuna
import pytest

from tests.search.test_planner import ARMS, FACTS, compared
from tests.space.test_space import space
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.warmup import Warmup
from tune_lb.samplers.sampler import Stopped
from tune_lb.search.halving import FAILED, lost, num_there, rung
from tune_lb.search.planner import Search
from tune_lb.search.score import Score, score_of
from tune_lb.settings.domain import over
from tune_lb.space.arm import Arm
from tune_lb.space.halving import Halving
from tune_lb.streams import seed_of
from tune_lb.tuning.cost_estimate import ArmEstimate, Estimate
from tune_lb.tuning.time_cut import moved, work_left

TWICE = Halving(factor=2, grace=0.25)
"""Looks after a quarter and a half: 8, 4, 2 where two are decided between."""

LARGE = Arm("large", eta_over_b=over(1e-4, 1e-1, log=True))


def loss_at(configuration_id, look):
    """A curve for each configuration: where it is at each look, and at its end (look 0)."""
    return 0.5 + seed_of(configuration_id, look) % 1000 / 1000


def score(member, halving=TWICE):
    """Say what training a member as far as it is wanted gives."""
    seen = tuple((loss_at(member.configuration_id, k + 1),) * 2 for k in range(len(halving.looks)))
    if member.look:
        return Score(*seen[member.look - 1], looks=seen[: member.look], is_whole=False)
    loss = loss_at(member.configuration_id, 0)
    return Score(loss, loss / 4, loss / 3, looks=seen if member.seed in (0, 500) else ())


class Halved:
    """A simulated call of the search with three workers, which finish in a random order."""

    def __init__(
        self, of, *, order=0, known=None, limit=10**6, score=score, fails=lambda member: False, proposed=None, only=None
    ):
        self.search = Search(of, FACTS, proposed=proposed)
        self.search.only = only
        self.search.observe(known or {})
        self.trained = []
        draw, running = random.Random(order), []
        while len(self.trained) < limit:
            while len(running) < 3 and (job := self.search.take()) is not None:
                running.append(job)
            if not running:
                break
            job = running.pop(draw.randrange(len(running)))
            failed = [m.key for m in job.members if fails(m)]
            self.search.observe({m.key: score(m) for m in job.members if m.key not in failed})
            self.search.give_up(failed, "it failed")
            self.trained += [(job.arm, job.stage, m.look, m) for m in job.members]

    @property
    def known(self):
        """What the rows of the run say."""
        return self.search.looked | self.search.scores

    def ids(self, arm, look):
        return [m.configuration_id for name, stage, at, m in self.trained if (name, stage, at) == (arm, "search", look)]


def halved(**settings):
    return compared(*ARMS, **{"num_samples": 8, "candidates": 2, "stopping": TWICE} | settings)


def test_rungs_of_a_table():
    #         look 1, look 2
    table = [(3, 9), (1, 7), (2, 8), (6, 0), (5, 0), (4, 6)]
    known = {(i, k): (float(table[i][k - 1]),) for i in range(6) for k in (1, 2)}
    assert rung(6, (4, 2), lambda i, k: known[i, k]) == (0, [1, 5])
    assert rung(6, (4, 2), lambda i, k: None if (i, k) == (4, 1) else known[i, k]) == (1, [0, 1, 2, 3, 4, 5])
    assert rung(6, (4, 2), lambda i, k: None if (i, k) == (2, 2) else known[i, k]) == (2, [0, 1, 2, 5])
    # of those that are stopped nothing more is asked
    assert rung(6, (4, 2), lambda i, k: known[i, k] if k == 1 or i in (0, 1, 2, 5) else 1 / 0) == (0, [1, 5])
    # who failed goes on last, equal ones by their index
    assert rung(3, (2,), lambda i, k: FAILED if i == 0 else (math.inf, 0.9, 0.0)) == (0, [1, 2])
    assert rung(4, (2,), lambda i, k: (1.0,)) == (0, [0, 1])
    assert rung(4, (), lambda i, k: 1 / 0) == (0, [0, 1, 2, 3])


@pytest.mark.parametrize("arm", ["small", "noisy", "placebo", "large_2x_epochs"])
def test_the_best_of_each_look_go_on(arm):
    run = Halved(halved())
    every, second, whole = (run.ids(arm, look) for look in (1, 2, 0))
    assert [len(every), len(second), len(whole)] == [8, 4, 2]
    assert set(second) == set(sorted(every, key=lambda c: loss_at(c, 1))[:4])
    assert set(whole) == set(sorted(second, key=lambda c: loss_at(c, 2))[:2])
    kept = [candidate.configuration_id for candidate in run.search.kept(run.search.arms[arm])]
    assert kept == sorted(whole, key=lambda c: loss_at(c, 0))
    assert {
        c for name, stage, _, m in run.trained if (name, stage) == (arm, "decide") for c in [m.configuration_id]
    } == set(kept)


def test_decide_and_confirm_train_in_full_and_shares_add_up():
    run = Halved(halved())
    assert all(look == 0 for _, stage, look, _ in run.trained if stage != "search")
    assert all(m.share == 1.0 for _, stage, _, m in run.trained if stage != "search")
    searched = [m.share for arm, stage, _, m in run.trained if (arm, stage) == ("large", "search")]
    assert sum(searched) == pytest.approx(8 / 4 + 4 / 4 + 2 / 2) == pytest.approx(TWICE.trainings(8, 2))
    assert run.search.finished
    assert num_there(run.search) == sum(arm.total for arm in run.search.progress())
    assert all(arm.done == arm.total and arm.left == 0 for arm in run.search.progress())


@pytest.mark.parametrize("order", [1, 2, 3])
def test_no_order_of_arrival_changes_anything(order):
    first, other = Halved(halved()), Halved(halved(), order=order)
    assert other.known == first.known
    assert other.search.selected("noisy").configuration_id == first.search.selected("noisy").configuration_id


@pytest.mark.parametrize("limit", [1, 5, 9, 13, 40, 55, 90])
def test_gone_on_from_any_state_is_as_never_interrupted(limit):
    whole = Halved(halved())
    begun = Halved(halved(), limit=limit, order=4)
    rest = Halved(halved(), known=begun.known, order=5)
    assert rest.known == whole.known
    again = {(m.key, look) for *_, look, m in rest.trained} & {(m.key, look) for *_, look, m in begun.trained}
    assert not again, "nothing is trained twice to the same look"


def test_a_job_has_members_of_one_look():
    search = Search(halved(), FACTS)
    jobs = []
    while not search.finished:
        jobs.append(search.take())
        search.observe({m.key: score(m) for m in jobs[-1].members})
    assert all(len({m.look for m in job.members}) == 1 for job in jobs)
    assert len({job.key for job in jobs}) == len(jobs), "the same members on the way to another look are another job"


def test_a_diverged_member_needs_no_look_and_a_failed_one_is_not_waited_for():
    of = halved()
    sick = Search(of, FACTS).ready("large")[:3]

    def diverges(member):
        return Score(math.inf, 0.9) if member.key in sick[:2] else score(member)

    run = Halved(of, score=diverges, fails=lambda member: member.key == sick[2])
    assert [len(run.ids("large", look)) for look in (1, 2, 0)] == [8, 4, 2]
    assert not {m.key for _, _, look, m in run.trained if look != 1} & set(sick)
    assert run.search.finished


def test_who_failed_is_tried_again_as_far_as_it_would_have_come_and_nobody_else_is():
    """Where a list of parts is searched, too."""
    one_of = Arm("one_of", over([SAM(rho=over(0.02, 1.0)), Warmup(epochs=over(1.0, 8.0)), None]))
    of = compared(*ARMS, one_of, num_samples=8, candidates=2, stopping=TWICE)
    whole = Halved(of)
    first = [m for arm, stage, look, m in whole.trained if (arm, stage, look) == ("one_of", "search", 1)]
    ranked = sorted(first, key=lambda m: loss_at(m.configuration_id, 1))
    sick = {ranked[0].key, ranked[-1].key}
    failing = Halved(of, fails=lambda member: member.key in sick)
    assert failing.search.failed.keys() == sick

    again = Halved(of, known=failing.known, only=sick)
    looks = [sorted((m.key, look) for *_, look, m in run.trained if m.key in sick) for run in (whole, again)]
    assert looks[0] == looks[1]
    assert len(looks[0]) > 2, "the best one goes on, the worst is stopped"
    assert {m.key for *_, m in again.trained} == sick
    assert again.search.finished


def test_a_loss_that_is_no_number_is_the_worst():
    of = halved()
    sick = Search(of, FACTS).ready("large")[0]
    run = Halved(
        of,
        score=lambda m: (
            Score(math.nan, math.nan, looks=((math.nan,) * 2,), is_whole=False) if m.key == sick else score(m)
        ),
    )
    assert sick not in {m.key for _, _, look, m in run.trained if look != 1}


def test_what_is_left_and_done_never_jumps_back():
    of = halved(derived=False, placebo=False, compute_matched=False)
    search, seen = Search(of, FACTS), []
    while not search.finished:
        job = search.take()
        search.observe({m.key: score(m) for m in job.members})
        arms = {arm.name: arm for arm in search.progress()}
        seen.append((arms["large"].done, arms["large"].left))
    done, left = zip(*seen, strict=True)
    assert list(done) == sorted(done)
    assert all(before >= after - 1e-9 for before, after in itertools.pairwise(left))
    # of eight searched, two decided between in two blocks, and six confirmed
    assert Search(of, FACTS).progress()[0].left == pytest.approx(4 + 2 * 2 + 6)


def test_more_samples_train_only_what_came_and_call_back_who_would_have_gone_on():
    few, fresh = Halved(halved()), Halved(halved(num_samples=16))
    more = Halved(halved(num_samples=16), known=few.known)
    for arm in ("small", "large", "noisy", "placebo"):
        for look in (1, 2, 0):
            assert not set(more.ids(arm, look)) & set(few.ids(arm, look))
            assert set(more.ids(arm, look)) | set(few.ids(arm, look)) >= set(fresh.ids(arm, look))
    assert any(set(more.ids(arm, 2)) & set(few.ids(arm, 1)) for arm in more.search.arms), "called back"


def test_a_search_with_fewer_blocks_stands_where_the_other_did():
    of = halved()
    begun = Halved(of, limit=30).search
    other = moved(begun, of.overridden([("confirm_blocks", 2)]))
    assert other.looked | other.scores == begun.looked | begun.scores
    costs = [ArmEstimate(arm, 16, 10, 1.0, 16.0, 0.0, 0.0, (1, 1, 1)) for arm in begun.arms]
    # a block of two members less for each arm
    cost = Estimate(costs, 0.0, 0.0, 1, 0, 0)
    assert work_left(begun, cost) - work_left(other, cost) == pytest.approx(2 * len(costs))


def test_files_that_are_gone_are_told_from_those_that_went_on():
    run = Halved(halved())
    known = run.known
    assert lost(run.search, known) == set()
    whole, stopped = next(iter(run.search.scores)), next(iter(run.search.looked.keys() - run.search.scores.keys()))
    assert lost(run.search, {k: v for k, v in known.items() if k != stopped}) == {stopped}
    assert lost(run.search, known | {whole: known[stopped]}) == {whole}


def test_the_score_of_a_stopped_row_survives_json():
    row = {"status": "stopped", "validation_loss": 0.5, "validation_error": 0.25, "validation_soft_error": None}
    row |= {"look1.validation_loss": 0.75, "look1.validation_error": 0.375}
    found = score_of(row)
    assert (found.is_whole, found.looks) == (False, ((0.75, 0.375),))
    again = Score(*json.loads(json.dumps(found)))
    assert (again.loss, [list(seen) for seen in again.looks], again.is_whole) == (0.5, [[0.75, 0.375]], False)
    assert score_of(row | {"status": "completed"}).is_whole


class Told:
    """A proposer that writes down what it is told."""

    def __init__(self, inner, notes):
        self.inner, self.notes = inner, notes

    def propose(self, index, scored):
        self.notes.append((index, list(scored)))
        return self.inner.propose(index, scored)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_what_samplers_are_told_of_stopped_configurations(sampler):
    numbers = {"num_samples": 6, "candidates": 1, "decide_blocks": 1, "confirm_blocks": 1}
    of = space(LARGE, sampler=sampler, stopping=Halving(), baseline=None, reference=None, **numbers)
    few = Search(of, FACTS)
    while not few.finished:
        job = few.take()
        few.observe({m.key: score(m, Halving()) for m in job.members})
    more = Search(of.overridden([("num_samples", 7)]), FACTS, proposed=few.proposed)
    more.observe(few.looked | few.scores)
    notes: list = []
    more.arms["large"].proposer = Told(more.arms["large"].proposer, notes)
    assert more.take() is not None
    ((index, scored),) = notes
    assert (index, len(scored)) == (6, 6)
    by_id = {str(c.values): c for c in more.arms["large"].candidates.values()}
    whole = {
        c.configuration_id for c in by_id.values() if c.members(more.blocks("large", "search")[0])[0].key in more.scores
    }
    assert len(whole) == 3
    for values, value in scored:
        name = by_id[str(values)].configuration_id
        first, last = (min(loss, math.log(10)) for loss in (loss_at(name, 1), loss_at(name, 0)))
        if sampler == "gp":
            assert value == first, "only values of the same moment can be compared"
        else:
            assert value == (last if name in whole else Stopped(1, first))


def test_tpe_tells_optuna_of_pruned_trials(monkeypatch):
    seen = []
    monkeypatch.setattr(
        optuna.samplers.TPESampler, "sample_relative", lambda self, study, trial, space: seen.append(study.trials) or {}
    )
    of = space(LARGE, sampler="tpe", baseline=None, reference=None)
    proposer = Search(of, FACTS).arms["large"].proposer
    proposer.propose(2, [({"eta_over_b": 1e-3}, 0.25), ({"eta_over_b": 1e-2}, Stopped(2, 0.5))])
    whole, stopped, *_ = seen[0]
    assert (whole.state.name, whole.value) == ("COMPLETE", 0.25)
    assert (stopped.state.name, stopped.intermediate_values, stopped.params) == (
        "PRUNED",
        {2: 0.5},
        {"eta_over_b": 1e-2},
    )
