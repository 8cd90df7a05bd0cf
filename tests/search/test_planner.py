"""The planner, driven by made-up scores: what is trained, in which blocks, and what never is."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from tests.space.test_space import space
from tune_lb.data.dataset import DataSource
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.results.ledger import Ledger
from tune_lb.results.storage import Store
from tune_lb.search.data_facts import DataFacts
from tune_lb.search.expected import expected_members
from tune_lb.search.job_size import JobSize
from tune_lb.search.planner import Search
from tune_lb.search.score import Score, score_of
from tune_lb.settings.domain import over
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.space.data_sets import source_name
from tune_lb.streams import seed_of
from tune_lb.tuning.recorded_proposals import record_proposals, recorded_proposals

FACTS = DataFacts("a", 1000, 10)
NOISE = GradientNoise(alpha=over(1e-6, 1e-2, log=True))
ARMS = (Arm("small", batch_size=4), Arm("large"), Arm("noisy", NOISE), Arm("sharp", SAM(rho=over(0.1, 0.5))))
BOTH = Arm("both", NOISE, SAM(rho=over(0.1, 0.5)), combines=("noisy", "sharp"))
SEARCHED = ("small", "large", "noisy", "sharp", "placebo", "large_2x_epochs")


def compared(*arms, **settings):
    """Five configurations of which three are decided between; everything a comparison needs is added."""
    chosen = {"num_samples": 5, "candidates": 3, "decide_blocks": 2, "confirm_blocks": 3, "block_seeds": 2} | settings
    return space(*(arms or ARMS), **chosen)


def score(configuration_id, key):
    """Say what training would give: a level for each configuration, and noise of each member."""
    level, noise = seed_of("level", configuration_id) % 1000 / 1000, seed_of("member", *key) % 1000 / 5000
    loss = 0.1 + level + noise
    return Score(loss, loss / 4, loss / 3)


class Run:
    """One simulated call of the search: three workers, which finish in a random order; None: as they began."""

    def __init__(
        self,
        of,
        *,
        known=None,
        proposed=None,
        order=0,
        fails=lambda member: False,
        score=score,
        limit=10**6,
        facts=FACTS,
        size=None,
    ):
        self.search = Search(of, facts, proposed=proposed, size=size)
        self.search.observe(known or {})
        self.jobs, self.members = [], []
        draw, running = random.Random(order), []
        while len(self.members) < limit:
            while len(running) < 3 and (job := self.search.take()) is not None:
                running.append(job)
                self.jobs.append(job)
            if not running:
                break
            job = running.pop(0 if order is None else draw.randrange(len(running)))
            failed = [member.key for member in job.members if fails(member)]
            self.search.observe({m.key: score(m.configuration_id, m.key) for m in job.members if m.key not in failed})
            self.search.give_up(failed, "it failed")
            self.members += [member.key for member in job.members if member.key not in failed]

    @property
    def scores(self):
        return dict(self.search.scores)

    def of(self, arm, stage=None):
        return [m for job in self.jobs if job.arm == arm and stage in (None, job.stage) for m in job.members]


def selections(run):
    return {arm: run.search.selected(arm).configuration_id for arm in run.search.arms}


def places(members):
    return {(m.trial.split_seed, m.seed, m.block) for m in members}


def test_every_arm_has_the_members_that_the_design_says_each_once():
    run = Run(compared())
    assert run.search.finished
    assert len(run.members) == len(set(run.members))
    for arm in SEARCHED:
        stages = [len(run.of(arm, stage)) for stage in ("search", "decide", "confirm")]
        assert stages == [5, 3 * 2, 3 * 2], arm
    for arm in ("large_copied", "large_scaled"):
        assert [len(run.of(arm, stage)) for stage in ("search", "decide", "confirm")] == [0, 0, 6]
    assert len(run.members) == 6 * (5 + 3 * 2) + 8 * 3 * 2


def test_stages_follow_each_other_and_a_job_has_one_arm_and_stage():
    run = Run(compared(), size=JobSize(4))
    for arm in run.search.arms:
        stages = [job.stage for job in run.jobs if job.arm == arm]
        assert stages == sorted(stages, key=("search", "decide", "confirm").index)
    assert all(1 <= len(job.members) <= 4 for job in run.jobs)
    assert all({member.trial.arm for member in job.members} == {job.arm} for job in run.jobs)


@pytest.mark.parametrize("arm", [*SEARCHED, "large_copied"])
def test_blocks_are_shared_by_all_arms_and_the_placebo_searches_in_its_own(arm):
    run = Run(compared())
    own = 500 if arm == "placebo" else 0
    if arm != "large_copied":
        assert places(run.of(arm, "search")) == {(own, own, own)}
        assert places(run.of(arm, "decide")) == {(1000 + own + b, 1000 + own + b, own + b) for b in range(2)}
    seeds = {(2000 + b, 2000 + b + 100_000 * j, b) for b in range(3) for j in range(2)}
    assert places(run.of(arm, "confirm")) == seeds
    assert {member.trial.draws for member in run.of(arm)} == {""}, "the same draws as all"


@pytest.mark.parametrize(("asked", "cut", "fresh"), [(None, True, True), (None, False, False), (False, True, False)])
def test_without_fresh_splits_blocks_are_seeds(asked, cut, fresh):
    run = Run(compared(fresh_splits=asked), facts=DataFacts("a", 1000, 10, can_be_cut=cut))
    splits = {member.trial.split_seed for job in run.jobs for member in job.members}
    assert splits == ({0, 500, 1000, 1001, 1500, 1501, 2000, 2001, 2002} if fresh else {0})
    seeds = {member.seed for member in run.of("large")}
    assert seeds == {0, 1000, 1001, 2000, 2001, 2002, 102000, 102001, 102002}
    assert len(run.members) == len(set(run.members))
    assert len(run.members) == 6 * (5 + 3 * 2) + 8 * 3 * 2


def test_one_data_set_that_cannot_be_cut_holds_for_all_arms():
    @dataclass(frozen=True)
    class Other(DataSource):
        pass

    arms = (*ARMS, Arm("few", data=Other()))
    others = {source_name(Other()): DataFacts("b", 10, 10, can_be_cut=False)}
    run = Run(compared(*arms), facts=DataFacts("a", 1000, 10, others=others))
    assert {member.trial.split_seed for job in run.jobs for member in job.members} == {0}


def test_a_configuration_is_known_by_one_id_in_all_blocks():
    run = Run(compared())
    for arm in SEARCHED:
        confirmed = run.of(arm, "confirm")
        assert {member.configuration_id for member in confirmed} == {run.search.selected(arm).configuration_id}
        assert len({member.trial_id for member in confirmed}) == 3
        searched = [member.configuration_id for member in run.of(arm, "search")]
        assert len(set(searched)) == 5
        assert {member.configuration_id for member in run.of(arm, "decide")} < set(searched)


def test_the_best_by_loss_are_decided_between_by_loss_and_soft_error():
    """The rule of tune_lb/inference/decision.py, worked out here by numpy alone."""
    run = Run(compared(num_samples=12, candidates=4, decide_blocks=5))
    for arm in SEARCHED:
        losses = {m.configuration_id: run.scores[m.key].loss for m in run.of(arm, "search")}
        kept = sorted(losses, key=losses.get)[:4]
        tables = []
        for name in ("loss", "soft_error"):
            by_block = {(m.configuration_id, m.block): getattr(run.scores[m.key], name) for m in run.of(arm, "decide")}
            assert {id for id, _ in by_block} == set(kept)
            tables.append(np.array([[by_block[id, b] for b in sorted({b for _, b in by_block})] for id in kept]))
        log_loss, soft = np.log(np.minimum(tables[0], math.log(10))).mean(1), tables[1].mean(1)
        total = sum((x - x.min()) / x.std(ddof=1) for x in (log_loss, soft))
        assert run.search.selected(arm).configuration_id == kept[int(total.argmin())]


def of_levels(*levels):
    """Return scores by the order in which configurations are first seen; a level is a Score, or None for a member that fails."""
    seen: dict[str, Score] = {}

    def given(configuration_id, key):
        return seen.setdefault(configuration_id, levels[len(seen) % len(levels)])

    return given


ONE = {"derived": False, "placebo": False, "compute_matched": False, "baseline": None, "reference": None}


@pytest.mark.parametrize(
    ("select_by", "chosen"),
    [
        # kept: 1 (loss .2), 2 (.25), 0 (.3)
        ("loss", 1),
        ("error", 0),
        # sd of the log losses .204, of the soft errors .104: 0 has 1.99 + 0, 1 has 0 + 1.92, 2 has 1.09 + 0.48
        ("auto", 2),
    ],
)
def test_what_selects(select_by, chosen):
    levels = of_levels(
        Score(0.3, 0.1, 0.1), Score(0.2, 0.3, 0.3), Score(0.25, 0.2, 0.15), Score(0.9, 0.35, 0.8), Score(0.95, 0.4, 0.9)
    )
    run = Run(compared(Arm("a"), select_by=select_by, **ONE), score=levels, size=JobSize(1), order=None)
    assert run.search.selected("a").index == chosen


def test_a_soft_error_that_is_not_there_is_replaced_by_the_error():
    levels = of_levels(Score(0.3, 0.1), Score(0.2, 0.3), Score(0.25, 0.15), Score(0.9, 0.35), Score(0.95, 0.4))
    run = Run(compared(Arm("a"), **ONE), score=levels, order=None, size=JobSize(1))
    assert run.search.selected("a").index == 2


def test_losses_above_chance_are_equal_and_the_error_decides():
    levels = of_levels(Score(9.0, 0.3), Score(3.0, 0.4), Score(2.4, 0.5), Score(7.0, 0.2), Score(2.5, 0.9))
    run = Run(compared(Arm("a"), candidates=1, **ONE), score=levels, order=None, size=JobSize(1))
    assert run.search.selected("a").index == 3
    unknown = DataFacts("a", 1000, None)
    run = Run(compared(Arm("a"), candidates=1, **ONE), score=levels, order=None, size=JobSize(1), facts=unknown)
    assert run.search.selected("a").index == 2, "where the loss of chance is not known, the loss alone"


@pytest.mark.parametrize("select_by", ["auto", "loss", "error"])
def test_a_diverged_configuration_is_kept_last_and_never_decided_for(select_by):
    lost = Score(math.inf, 0.9)
    levels = of_levels(lost, Score(0.5, 0.2, 0.2), lost, lost, lost)
    run = Run(compared(Arm("a"), select_by=select_by, **ONE), score=levels, order=None, size=JobSize(1))
    assert run.search.selected("a").index == 1
    all_lost = Run(compared(Arm("a"), select_by=select_by, **ONE), score=of_levels(lost))
    assert all_lost.search.finished
    assert all_lost.search.selected("a") is not None, "what every configuration does is a result"


@pytest.mark.parametrize("order", range(4))
def test_the_order_in_which_workers_finish_changes_nothing(order):
    of = compared(*ARMS, BOTH)
    first, other = Run(of), Run(of, order=order, size=JobSize(7, {"small": 2}, workers=3))
    assert set(first.members) == set(other.members)
    assert selections(first) == selections(other)


@pytest.mark.parametrize("limit", [1, 7, 30, 60, 90])
def test_gone_on_from_any_state_is_as_never_interrupted(limit):
    of = compared(*ARMS, BOTH)
    whole, broken = Run(of), Run(of, limit=limit, order=limit)
    rest = Run(of, known=broken.scores, order=3)
    assert set(rest.members) | set(broken.members) == set(whole.members)
    assert not set(rest.members) & set(broken.scores)
    assert selections(rest) == selections(whole)
    assert not Run(of, known=rest.scores).jobs


@pytest.mark.parametrize("raised", [{"confirm_blocks": 9}, {"block_seeds": 3}, {"confirm_blocks": 5, "block_seeds": 4}])
def test_an_extended_run_trains_only_what_came_and_decides_nothing_anew(raised):
    first = Run(compared())
    more = Run(compared(**raised), known=first.scores)
    assert {job.stage for job in more.jobs} == {"confirm"}
    assert not set(more.members) & set(first.scores)
    assert selections(more) == selections(first)
    expected = {"confirm_blocks": 3, "block_seeds": 2} | raised
    assert len(more.members) == 8 * (expected["confirm_blocks"] * expected["block_seeds"] - 6)


def test_fewer_blocks_than_are_there_train_nothing():
    first = Run(compared())
    assert not Run(compared(confirm_blocks=2), known=first.scores).jobs


def test_with_one_candidate_nothing_is_decided():
    run = Run(compared(candidates=1))
    assert {job.stage for job in run.jobs} == {"search", "confirm"}
    losses = {m.configuration_id: run.scores[m.key].loss for m in run.of("sharp", "search")}
    assert run.search.selected("sharp").configuration_id == min(losses, key=losses.get)


@pytest.mark.parametrize("settings", [{"eta_over_b": 1e-3}, {"num_samples": 1}])
def test_what_has_one_configuration_is_confirmed_at_once(settings):
    run = Run(compared(Arm("small", batch_size=4), Arm("large"), **settings))
    assert {job.stage for job in run.jobs} == {"confirm"}
    assert all(arm.total == arm.done == 6 for arm in run.search.progress())


def test_a_placebo_that_selects_the_reference_s_recipe_is_the_reference():
    run = Run(compared())
    large, placebo = (next(iter(run.of(arm, "confirm"))).trial for arm in ("large", "placebo"))
    assert large.draws == placebo.draws
    shared = {member.values["eta_over_b"] for member in run.of("large", "search")}
    assert not shared & {member.values["eta_over_b"] for member in run.of("placebo", "search")}, "points of its own"


def test_arms_try_the_same_points():
    run = Run(compared())
    rates = {
        arm: [m.values["eta_over_b"] for m in sorted(run.of(arm, "search"), key=lambda m: m.trial_id)]
        for arm in SEARCHED
    }
    assert {frozenset(rates[arm]) for arm in SEARCHED if arm != "placebo"} == {frozenset(rates["large"])}


def test_derived_arms_take_what_their_source_was_decided_for():
    run = Run(compared())
    source = run.search.selected("small").trial
    copied, scaled = (run.search.selected(f"large_{role}").trial for role in ("copied", "scaled"))
    assert copied.learning_rate == source.learning_rate
    assert scaled.learning_rate / scaled.batch_size == pytest.approx(source.learning_rate / source.batch_size)


def test_combined_arms_begin_with_the_best_of_the_others():
    run = Run(compared(*ARMS, BOTH))
    both = run.search.arms["both"]
    for index, (source, column, neutral) in enumerate(
        [("noisy", "gradient_noise.alpha", "sam.rho"), ("sharp", "sam.rho", "gradient_noise.alpha")]
    ):
        losses = {m.key: (run.scores[m.key].loss, m) for m in run.of(source, "search")}
        best = min(losses.values(), key=lambda pair: pair[0])[1]
        taken = both.candidates[index].values
        assert taken[column] == best.values[column]
        assert taken["eta_over_b"] == best.values["eta_over_b"]
        assert taken[neutral] == 0.0
    assert len(run.of("both", "search")) == 5


def test_an_arm_is_not_held_up_by_members_that_fail():
    lost = Run(compared(), fails=lambda member: seed_of("fails", *member.key) % 4 == 0)
    assert lost.search.finished
    assert lost.search.failed
    for arm in SEARCHED:
        there = {m.configuration_id for m in lost.of(arm, "search") if m.key in lost.scores}
        assert lost.search.selected(arm).configuration_id in there
    again = Run(compared(), known=lost.scores)
    assert again.search.finished
    assert not set(again.members) & set(lost.members)


def test_of_an_arm_whose_members_all_fail_nothing_is_selected():
    run = Run(compared(), fails=lambda member: member.trial.arm == "noisy")
    assert run.search.finished
    assert run.search.selected("noisy") is None
    assert run.search.selected("sharp") is not None


def test_a_sampler_that_learns_is_asked_one_at_a_time_and_never_twice(tmp_path):
    of = compared(sampler="tpe", num_samples=13)
    ledger = Ledger(Store(tmp_path))
    killed = Run(of, limit=40)
    record_proposals(ledger, killed.search.new_proposals())
    assert all(len(job.members) == 1 for job in killed.jobs if job.stage == "search")
    proposed = recorded_proposals(ledger, checked_designs(of))
    assert proposed == {arm: dict(values) for arm, values in killed.search.proposed.items() if values}
    resumed = Run(of, known=killed.scores, proposed=proposed)
    assert resumed.search.finished
    for arm in SEARCHED:
        searched = {m.configuration_id for run in (killed, resumed) for m in run.of(arm, "search")}
        assert len(searched) == 13
    again = Run(of, known=resumed.scores, proposed=resumed.search.proposed)
    assert not again.jobs


def test_tpe_learns_from_the_losses_of_the_search():
    one = space(*ARMS[:1], sampler="tpe", num_samples=40, candidates=1, confirm_blocks=1, block_seeds=1, **ONE)

    def loss(run_search):
        found = run_search.arms["small"].candidates
        return {c.configuration_id: abs(math.log(c.values["eta_over_b"] / 1e-3)) for c in found.values()}

    search = Search(one, FACTS)
    while (job := search.take()) is not None:
        known = loss(search)
        search.observe({m.key: Score(0.1 + 0.1 * known[m.configuration_id]) for m in job.members})
    off = [abs(math.log(c.values["eta_over_b"] / 1e-3)) for _, c in sorted(search.arms["small"].candidates.items())]
    assert np.mean(off[-15:]) < 0.6 * np.mean(off[:10])


FEW = Arm("few", GhostBatchNorm(ghost_batch_size=over([2, 3, 4, 6])), eta_over_b=1e-3)


@pytest.mark.parametrize("sampler", ["tpe", "random", "sobol"])
@pytest.mark.parametrize("num_samples", [2, 4, 6])
@pytest.mark.parametrize("order", range(3))
def test_no_configuration_is_tried_twice_while_one_is_untried(sampler, num_samples, order):
    """A10: over a list of four values, four proposals are the four."""
    of = compared(*ARMS[:2], FEW, sampler=sampler, num_samples=num_samples, seed=order)
    run = Run(of, order=order)
    assert run.search.finished
    tried = Counter(member.trial_id for member in run.of("few", "search"))
    assert set(tried.values()) == {1}
    assert len(tried) == min(num_samples, 4)
    assert not Run(of, known=run.scores, proposed=run.search.proposed).jobs


def test_a_grid_is_tried_whole():
    run = Run(
        compared(
            Arm("a", GhostBatchNorm(ghost_batch_size=over([2, 3, 4])), eta_over_b=over([1e-4, 1e-3])),
            sampler="grid",
            **ONE,
        )
    )
    assert len(run.of("a", "search")) == 6
    assert run.search.finished


def test_progress_adds_up():
    of = compared(*ARMS, BOTH)
    for limit in (0, 10, 40, 10**6):
        run = Run(of, limit=limit)
        arms = run.search.progress()
        assert [arm.name for arm in arms] == [design.name for design in checked_designs(of)]
        assert sum(arm.done for arm in arms) == len(run.members)
        assert all(arm.done <= arm.total for arm in arms)
        assert {arm.name: arm.total for arm in arms} == {
            d.name: sum(expected_members(of, d).values()) for d in checked_designs(of)
        }
    assert sum(arm.total for arm in arms) == len(run.members)
    assert {arm.stage for arm in arms} == {"done"}
    large = next(arm for arm in arms if arm.name == "large")
    assert large.best == min(run.scores[m.key].loss for m in run.of("large", "search"))


def test_the_last_jobs_are_split_so_that_workers_finish_together():
    run = Run(compared(num_samples=24), size=JobSize(32, workers=3))
    sizes = [len(job.members) for job in run.jobs]
    assert max(sizes) <= 32
    assert max(sizes[-3:]) <= 2
    assert len(sizes) < 0.5 * sum(sizes)


def test_members_of_one_trial_stay_in_one_job():
    run = Run(compared(confirm_blocks=6), size=JobSize(5, workers=1))
    holders = Counter((job.key, member.trial_id) for job in run.jobs for member in job.members)
    parts = Counter(trial_id for _, trial_id in holders)
    confirmed = {member.trial_id for job in run.jobs if job.stage == "confirm" for member in job.members}
    assert sum(parts[trial_id] > 1 for trial_id in confirmed) <= 2, "but for the very last jobs"


def test_without_validation_examples_nothing_is_selected_by_score():
    run = Run(compared(num_samples=1), score=lambda *of: Score(0.0), facts=DataFacts("a", 0, 10))
    assert {job.stage for job in run.jobs} == {"confirm"}
    assert run.search.finished


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"validation_loss": 0.9, "validation_error": 0.2, "validation_soft_error": 0.3, "test_error": 0.4},
            (0.9, 0.2, 0.3, 0.4),
        ),
        ({"status": "diverged", "validation_error": 0.9, "test_error": 0.9}, (math.inf, 0.9, math.nan, 0.9)),
        ({"validation_loss": None, "validation_error": None}, (0.0, 0.0, math.nan, math.nan)),
    ],
)
def test_the_score_of_a_row(row, expected):
    assert score_of({"status": "completed"} | row)[:4] == pytest.approx(expected, nan_ok=True)
