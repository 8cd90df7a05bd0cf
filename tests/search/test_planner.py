"""The planner, driven by made-up validation errors: what is trained, in which order, and what never is."""

from __future__ import annotations

import random
import statistics

import pytest

from tests.space.test_space import space
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.results.ledger import Ledger
from tune_lb.results.storage import Store
from tune_lb.search.arm_in_split import Split
from tune_lb.search.planner import Search
from tune_lb.search.score import Score, score_of
from tune_lb.settings.domain import over
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.streams import seed_of
from tune_lb.tuning.recorded_proposals import record_proposals, recorded_proposals

SPLITS = {0: Split("a", 1000), 1: Split("b", 1000)}
NOISE = GradientNoise(alpha=over(1e-6, 1e-2, log=True))
ARMS = (Arm("small", batch_size=4), Arm("large"), Arm("noisy", NOISE), Arm("sharp", SAM(rho=over(0.1, 0.5))))
BOTH = Arm("both", NOISE, SAM(rho=over(0.1, 0.5)), combines=("noisy", "sharp"))


def compared(*arms, **settings):
    """Two splits, three configurations; everything a comparison needs is added."""
    chosen = {"split_seeds": (0, 1), "num_samples": 3, "seeds": 2, "rescreen_seeds": 2, "confirm_seeds": 3} | settings
    return space(*(arms or ARMS), **chosen)


def error_of(trial_id, seed):
    """Say what training would give: a level per configuration, and noise of 0.02 per member; in thousandths, so ties occur."""
    return round((seed_of("level", trial_id) % 100 + seed_of("member", trial_id, seed) % 20) / 1000, 3)


class Run:
    """One simulated call of the search: three workers, which finish in a random order."""

    def __init__(
        self, of, *, known=None, proposed=None, order=0, fails=lambda job: False, error=error_of, limit=10**6, **options
    ):
        self.search = Search(of, SPLITS, proposed=proposed, **options)
        for (trial_id, seed), value in (known or {}).items():
            self.search.observe(trial_id, {seed: value})
        self.known, self.jobs, self.members = dict(known or {}), [], []
        draw, running = random.Random(order), []
        while len(self.members) < limit:
            while len(running) < 3 and (job := self.search.take()) is not None:
                running.append(job)
                self.jobs.append(job)
            if not running:
                break
            job = running.pop(draw.randrange(len(running)))
            if fails(job):
                self.search.give_up(job, "it failed")
                continue
            self.search.observe(job.trial_id, {seed: error(job.trial_id, seed) for seed in job.seeds})
            self.members += [(job.trial_id, seed) for seed in job.seeds]

    @property
    def errors(self):
        return dict(self.search.errors)

    def of(self, arm, stage=None, split_seed=0):
        return [j for j in self.jobs if (j.arm, j.split_seed) == (arm, split_seed) and stage in (None, j.stage)]


def selections(run):
    return {key: run.search.selected(*key).trial_id for key in run.search.pairs}


def test_stages_follow_each_other_with_fresh_seeds():
    run = Run(compared())
    for key, pair in run.search.pairs.items():
        stages = [job.stage for job in run.jobs if (job.arm, job.split_seed) == key]
        assert stages == sorted(stages, key=("search", "rescreen", "confirm").index)
        assert stages.count("search") == pair.design.num_samples
    seeds = {
        stage: {s for j in run.jobs if j.stage == stage for s in j.seeds} for stage in ("search", "rescreen", "confirm")
    }
    assert seeds == {"search": {0, 1}, "rescreen": {1000, 1001}, "confirm": {2000, 2001, 2002}}
    assert run.search.finished
    assert len(run.members) == len(set(run.members))


def test_every_arm_gets_the_same_budget_and_confirms_one_configuration():
    run = Run(compared(num_samples=5))
    for split_seed in SPLITS:
        for arm in ("small", "large", "noisy", "sharp", "placebo", "large_2x_epochs"):
            assert sum(len(job.seeds) for job in run.of(arm, "search", split_seed)) == 5 * 2
        for arm, _ in run.search.pairs:
            confirmed = run.of(arm, "confirm", split_seed)
            assert {job.trial_id for job in confirmed} == {run.search.selected(arm, split_seed).trial_id}
            assert sum(len(job.seeds) for job in confirmed) == 3


def by_level(levels):
    """Return errors of the configurations of every arm by their rate: the lowest rate has levels[0]."""

    def of(run_space, spread=0.0):
        search = Search(run_space, SPLITS)
        ranks = {}
        for (arm, split_seed), pair in search.pairs.items():
            trials = [pair.candidate(i, pair.proposer.propose(i, [])) for i in range(pair.design.num_samples)]
            for rank, c in enumerate(sorted(trials, key=lambda c: c.trial.learning_rate)):
                ranks[c.trial_id] = (arm, split_seed, levels[rank])
        return lambda trial_id, seed: ranks.get(trial_id, (0, 0, 0.5))[2] + (spread if seed % 2 else -spread)

    return of


@pytest.mark.parametrize(
    ("levels", "spread", "near"),
    [
        ((0.10, 0.30, 0.50, 0.70), 0.01, 1),
        ((0.10, 0.109, 0.50, 0.70), 0.01, 2),
        ((0.10, 0.111, 0.50, 0.70), 0.01, 1),
        ((0.10, 0.10, 0.10, 0.10), 0.01, 3),
        # no spread between seeds: still as much as one validation example
        ((0.10, 0.1009, 0.1011, 0.70), 0.0, 2),
    ],
)
def test_rescreened_is_what_lies_within_a_standard_error_of_the_best(levels, spread, near):
    # the two seeds of a configuration differ by twice the spread, so the standard error of their mean is the spread
    of = compared(num_samples=4)
    run = Run(of, error=by_level(levels)(of, spread))
    assert statistics.stdev([-spread, spread]) / 2**0.5 == pytest.approx(spread)
    rescreened = {job.trial_id for job in run.of("large", "rescreen")}
    assert len(rescreened) == (near if near > 1 else 0)
    assert rescreened <= {job.trial_id for job in run.of("large", "search")}


def test_the_best_over_search_and_rescreen_is_confirmed_whatever_its_confirm_members_show():
    of = compared(num_samples=4)
    level = by_level((0.1, 0.105, 0.5, 0.5))(of, 0.01)
    lower = {}

    def error(trial_id, seed):
        value = level(trial_id, seed)
        # the second best overtakes in the rescreen; in the confirmation it is bad
        if seed >= 2000:
            return 0.9
        return value - 0.02 if seed >= 1000 and round(level(trial_id, 0) + 0.01, 3) == 0.105 else value

    run = Run(of, error=error)
    for (arm, split_seed), pair in run.search.pairs.items():
        if pair.design.derived_from is None:
            rates = sorted(c.trial.learning_rate for c in pair.candidates.values())
            lower[arm, split_seed] = run.search.selected(arm, split_seed).trial.learning_rate == rates[1]
    assert all(lower.values())


def test_derived_arms_take_the_rate_of_the_baseline_in_their_own_split():
    run = Run(compared())
    position = {id(job): index for index, job in enumerate(run.jobs)}
    rates = set()
    for split_seed in SPLITS:
        baseline = run.search.selected("small", split_seed).trial
        copied, scaled = (run.search.selected(f"large_{role}", split_seed).trial for role in ("copied", "scaled"))
        assert (copied.lr, copied.batch_size) == (
            baseline.learning_rate,
            run.search.selected("large", 0).trial.batch_size,
        )
        assert scaled.learning_rate / scaled.batch_size == pytest.approx(baseline.learning_rate / baseline.batch_size)
        assert {job.stage for job in run.of("large_copied", split_seed=split_seed)} == {"confirm"}
        last = max(position[id(job)] for job in run.of("small", "search", split_seed))
        assert min(position[id(job)] for job in run.of("large_copied", split_seed=split_seed)) > last
        rates.add(baseline.learning_rate)
    assert len(rates) == 2, "the made-up errors select differently in the two splits, or this test shows nothing"


def test_the_bests_of_the_single_remedies_are_tried_first_with_the_others_neutral():
    run = Run(compared(*ARMS, BOTH, num_samples=4))
    for split_seed in SPLITS:
        pair = run.search.pairs["both", split_seed]
        first, second, third = (pair.candidates[index].trial for index in range(3))
        for trial, arm in ((first, "noisy"), (second, "sharp")):
            searched = run.search.pairs[arm, split_seed].candidates.values()
            best = min(
                searched, key=lambda c: (statistics.fmean(run.errors[c.trial_id, s] for s in (0, 1)), c.index)
            ).trial
            assert trial.learning_rate == best.learning_rate
            assert trial.active == best.active
        assert len(third.active) == 2


def test_a_combined_arm_takes_what_the_single_one_fixes():
    fixed = Arm("noisy", GradientNoise(alpha=1e-3, gamma=0.5), eta_over_b=2e-4)
    run = Run(compared(*ARMS[:2], fixed, ARMS[3], BOTH))
    taken = run.search.pairs["both", 0].candidates[0].trial
    assert [(r.alpha, r.gamma) for r in taken.active] == [(1e-3, GradientNoise().gamma)], "gamma is its own"
    assert taken.learning_rate == run.search.selected("noisy", 0).trial.learning_rate


def test_a_remedy_without_effect_proposes_the_reference_s_configurations():
    run = Run(compared(Arm("small", batch_size=4), Arm("large"), Arm("null", GhostBatchNorm())))
    for split_seed in SPLITS:
        null, large = (run.search.pairs[arm, split_seed].candidates for arm in ("null", "large"))
        assert [c.values for c in null.values()] == [c.values for c in large.values()]
        assert all(not c.trial.active for c in null.values())
    placebo = run.search.pairs["placebo", 0].candidates
    assert [c.values for c in placebo.values()] != [c.values for c in run.search.pairs["large", 0].candidates.values()]


@pytest.mark.parametrize("order", range(5))
def test_resumed_from_any_subset_exactly_the_rest_is_trained(order):
    of = compared(*ARMS, BOTH)
    whole = Run(of)
    draw = random.Random(order)
    # what was finished at a kill, and any subset at all (files were lost)
    for known in (
        Run(of, order=order, limit=draw.randrange(len(whole.members))).errors,
        {key: value for key, value in whole.errors.items() if draw.random() < order / 5},
    ):
        resumed = Run(of, known=known, order=order + 1)
        assert not set(resumed.members) & set(known)
        assert len(resumed.members) == len(set(resumed.members))
        assert set(resumed.members) | set(known) == set(whole.members)
        assert selections(resumed) == selections(whole)


@pytest.mark.parametrize("raised", [{"seeds": 4}, {"num_samples": 6}, {"confirm_seeds": 9}, {"rescreen_seeds": 5}])
def test_a_search_extended_trains_only_what_is_missing(raised):
    first = Run(compared())
    more = Run(compared(**raised), known=first.errors)
    assert more.members
    assert not set(more.members) & set(first.members)
    fresh = Run(compared(**raised))
    assert set(fresh.members) <= set(more.members) | set(first.members)
    assert selections(more) == selections(fresh)
    assert not Run(compared(**raised), known=more.errors).jobs


def test_a_search_made_smaller_has_nothing_left_to_do():
    first = Run(compared(seeds=3, confirm_seeds=5))
    again = Run(compared(seeds=3, confirm_seeds=2), known=first.errors)
    assert again.search.finished
    assert not again.jobs


def test_failed_jobs_do_not_hold_up_the_others():
    draw = random.Random(4)
    run = Run(compared(), fails=lambda job: draw.random() < 0.3)
    assert run.search.finished
    for key, pair in run.search.pairs.items():
        scored = [c for c in pair.candidates.values() if (c.trial_id, 0) in run.errors]
        assert (run.search.selected(*key) is None) == (not scored) or pair.design.derived_from
    assert not set(run.search.failed) & set(run.errors)
    retried = Run(compared(), known=run.errors)
    assert not set(retried.members) & set(run.members)
    assert {key for key in retried.members if key[1] < 1000} == {key for key in run.search.failed if key[1] < 1000}


def test_of_an_arm_that_always_fails_nothing_is_selected():
    run = Run(compared(*ARMS, BOTH), fails=lambda job: job.arm in ("small", "noisy"))
    assert run.search.finished
    for arm in ("small", "noisy", "large_copied", "large_scaled"):
        assert run.search.selected(arm, 0) is None
        assert {job.stage for job in run.of(arm)} <= {"search"}
    assert run.search.selected("both", 0) is not None
    assert {key[0] for key in run.search.failed} <= {job.trial_id for job in run.jobs if job.arm in ("small", "noisy")}


@pytest.mark.parametrize("sampler", ["sobol", "random", "tpe"])
@pytest.mark.parametrize("order", range(2))
def test_nothing_waits_for_nothing(sampler, order):
    """take() is None only while something runs, or at the end; every arm with results has then been confirmed."""
    run = Run(compared(*ARMS, BOTH, sampler=sampler, num_samples=4), order=order)
    assert run.search.finished
    assert not run.search.running
    assert {(j.arm, j.split_seed) for j in run.jobs if j.stage == "confirm"} == set(run.search.pairs)
    assert all(len(run.of(arm, "search")) == 4 for arm in ("large", "both"))


def test_an_arm_that_combines_others_tries_its_whole_grid_besides():
    noisy = Arm("noisy", GradientNoise(alpha=over([1e-6, 1e-4])))
    both = Arm("both", GradientNoise(alpha=over([1e-6, 1e-4])), SAM(rho=over([0.1, 0.3])), combines=("noisy",))
    of = compared(*ARMS[:2], noisy, both, sampler="grid", eta_over_b=over([0.01, 0.1]), compute_matched=False)
    run = Run(of)
    assert run.search.finished
    pair = run.search.pairs["both", 0]
    values = [
        tuple(pair.candidates[i].values[n] for n in ("eta_over_b", "gradient_noise.alpha", "sam.rho")) for i in range(9)
    ]
    assert values[0][2] == SAM().rho, "the best of noisy, without SAM"
    assert sorted(values[1:]) == [(e, a, r) for e in (0.01, 0.1) for a in (1e-6, 1e-4) for r in (0.1, 0.3)]
    assert len({job.trial_id for job in run.of("both", "search")}) == 9


def test_jobs_are_consecutive_seeds_of_a_limited_number():
    of = compared(seeds=7, confirm_seeds=9)
    known = {key: value for key, value in Run(of).errors.items() if key[1] not in (2, 2004)}
    jobs = Run(of, known=known, members_per_job=3).jobs + Run(of, members_per_job=3).jobs
    assert all(job.seeds == tuple(range(job.seeds[0], job.seeds[0] + len(job.seeds))) for job in jobs)
    assert max(len(job.seeds) for job in jobs) == 3
    assert {job.seeds for job in Run(of, known=known).jobs} == {(2,), (2004,)}


def test_a_learning_sampler_is_asked_late_and_learns():
    one = space(*ARMS[:1], baseline="small", reference=None, sampler="tpe", num_samples=40, seeds=1)
    search = Search(one, {0: SPLITS[0]})
    search.progress()
    assert search.finished is False
    rates = []
    while (job := search.take()) is not None:
        assert len(search.proposed["small", 0]) == min(len(rates) + 1, 40)
        # the higher the rate, the better
        search.observe(job.trial_id, {seed: -job.trial.learning_rate for seed in job.seeds})
        rates += [job.trial.learning_rate] * (job.stage == "search")
    assert len(rates) == 40
    assert statistics.median(rates[20:]) > 2 * statistics.median(rates[:10])


def test_the_combined_configurations_do_not_disturb_a_learning_sampler():
    run = Run(compared(*ARMS, BOTH, sampler="tpe", num_samples=12))
    assert run.search.finished
    pair = run.search.pairs["both", 0]
    assert [len(pair.candidates[index].trial.active) for index in range(3)] == [1, 1, 2]


@pytest.mark.parametrize("order", range(4))
def test_a_learning_sampler_resumed_proposes_nothing_anew(order, tmp_path):
    of = compared(*ARMS, BOTH, sampler="tpe", num_samples=5)
    ledger = Ledger(Store(tmp_path))
    killed = Run(of, order=order, limit=15 * (order + 1))
    record_proposals(ledger, killed.search.new_proposals())
    proposed = recorded_proposals(Ledger(Store(tmp_path)), checked_designs(of))
    assert proposed == killed.search.proposed
    resumed = Run(of, known=killed.errors, proposed=proposed)
    assert not set(resumed.members) & set(killed.members)
    for key, values in proposed.items():
        assert {index: resumed.search.proposed[key][index] for index in values} == values
    trials = {job.trial_id for run in (killed, resumed) for job in run.jobs if job.stage == "search"}
    assert len(trials) == len(killed.search.pairs) * 5 - 2 * 2 * 5, (
        "five per pair that is searched, however often resumed"
    )
    again = Run(of, known=resumed.errors, proposed=resumed.search.proposed)
    assert not again.jobs


FEW = Arm("few", GhostBatchNorm(ghost_batch_size=over([2, 3, 4, 6])), eta_over_b=1e-3)


@pytest.mark.parametrize("sampler", ["tpe", "random", "sobol"])
@pytest.mark.parametrize("num_samples", [2, 4, 6])
@pytest.mark.parametrize("order", range(3))
def test_no_configuration_is_tried_twice_while_one_is_untried(sampler, num_samples, order):
    """A10: over a list of four values, four proposals are the four."""
    run = Run(compared(*ARMS[:2], FEW, sampler=sampler, num_samples=num_samples, seed=order), order=order)
    assert run.search.finished
    for split_seed in SPLITS:
        tried = [job.trial_id for job in run.of("few", "search", split_seed)]
        assert len(tried) == len(set(tried)) == min(num_samples, 4)
    assert not Run(run.search.space, known=run.errors, proposed=run.search.proposed).jobs
    more = Run(
        compared(*ARMS[:2], FEW, sampler=sampler, num_samples=4, seed=order),
        known=run.errors,
        proposed=run.search.proposed,
    )
    assert len({c.trial_id for c in more.search.pairs["few", 0].candidates.values()}) == 4


def test_what_is_recorded_with_repeats_stays_and_goes_on():
    """Proposals of before: every one that was trained is still a candidate, and none is proposed anew in its place."""
    of = compared(*ARMS[:2], FEW, sampler="tpe", num_samples=6)
    sizes = [3, 3, 2, 3, 6, 2]
    before = {index: {"ghost_batch_norm.ghost_batch_size": size} for index, size in enumerate(sizes)}
    run = Run(of, proposed={("few", 0): before})
    pair = run.search.pairs["few", 0]
    assert [pair.candidates[i].values["ghost_batch_norm.ghost_batch_size"] for i in range(6)] == sizes
    assert len(run.of("few", "search")) == 3
    shorter = Run(of, proposed={("few", 0): {i: before[i] for i in range(2)}})
    found = [c.values["ghost_batch_norm.ghost_batch_size"] for c in shorter.search.pairs["few", 0].candidates.values()]
    assert found[:2] == [3, 3]
    assert len(set(found)) == 4


def test_progress_adds_up():
    of = compared(*ARMS, BOTH)
    for limit in (0, 10, 40, 10**6):
        run = Run(of, limit=limit)
        arms = run.search.progress()
        assert [arm.name for arm in arms] == [design.name for design in checked_designs(of)]
        assert sum(arm.done for arm in arms) == len(run.members)
        assert all(arm.done <= arm.total for arm in arms)
    assert sum(arm.total for arm in arms) == len(run.members)
    assert {arm.stage for arm in arms} == {"done"}
    large = next(arm for arm in arms if arm.name == "large")
    best = [
        min(
            statistics.fmean(e for (t, s), e in run.errors.items() if t == c.trial_id and s < 2000)
            for c in run.search.pairs["large", split_seed].candidates.values()
        )
        for split_seed in SPLITS
    ]
    assert large.best_validation_error == pytest.approx(statistics.fmean(best))


def test_without_validation_examples_nothing_is_selected_by_score():
    search = Search(compared(num_samples=1), {0: Split("a", 0)})
    while (job := search.take()) is not None:
        assert job.stage != "rescreen"
        search.observe(job.trial_id, dict.fromkeys(job.seeds, 0.0))
    assert search.finished


def tied(trial_id, seed):
    """Say what an easy task gives: no validation error anywhere, and a loss that falls with the place in the hash."""
    return Score(0.0, (seed_of("loss", trial_id) % 100) / 100)


def test_among_configurations_of_equal_error_the_lower_validation_loss_is_selected():
    run = Run(compared(num_samples=6), error=tied)
    for (arm, split), pair in run.search.pairs.items():
        if pair.design.derived_from is None and pair.dimensions:
            losses = {c.trial_id: tied(c.trial_id, 0).tie for c in pair.candidates.values()}
            assert losses[run.search.selected(arm, split).trial_id] == min(losses.values())
            near = {j.trial_id for j in run.of(arm, "rescreen", split)}
            assert near == set(sorted(losses, key=losses.get)[:3]), "the lowest losses are rescreened"


def test_a_run_begun_before_ties_were_decided_goes_on_with_the_first():
    run = Run(compared(num_samples=6), error=tied, ties_decided=False)
    assert run.search.selected("small", 0).index == 0


def test_means_that_differ_by_the_order_of_summing_are_ties():
    search = Search(compared(num_samples=2, seeds=3), SPLITS)
    pair = search.pairs["small", 0]
    thirds = [(0.1, 0.2, 0.3), (0.3, 0.3, 0.0)]
    assert sum(thirds[0]) / 3 != sum(thirds[1]) / 3
    for index, (errors, loss) in enumerate(zip(thirds, (0.5, 0.1), strict=True)):
        candidate = search._proposal(pair, index)
        search.observe(candidate.trial_id, {seed: Score(error, loss) for seed, error in enumerate(errors)})
    assert [c.index for c in search._near_best(pair)] == [1, 0]


def test_selection_by_loss_takes_the_lowest_loss_and_never_a_diverged_member():
    rows = {
        "a": {"status": "completed", "validation_error": 0.0, "validation_loss": 0.9},
        "b": {"status": "completed", "validation_error": 0.5, "validation_loss": 0.1},
        "c": {"status": "diverged", "validation_error": 0.9, "validation_loss": None},
    }
    by_loss = {name: score_of(row, "loss") for name, row in rows.items()}
    assert sorted(rows, key=by_loss.get) == ["b", "a", "c"]
    assert by_loss["c"].value == float("inf")
    assert sorted(rows, key=lambda name: score_of(rows[name])) == ["a", "b", "c"]

    def error(trial_id, seed):
        return by_loss["c" if seed_of("x", trial_id) % 3 == 0 else "b" if seed_of("x", trial_id) % 3 == 1 else "a"]

    run = Run(compared(num_samples=6, select_by="loss"), error=error)
    found = {c.trial_id: error(c.trial_id, 0) for c in run.search.pairs["small", 0].candidates.values()}
    assert found[run.search.selected("small", 0).trial_id] == min(found.values())
    assert run.search.finished
