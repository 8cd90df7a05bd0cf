"""Samplers: shared points, prefixes, bounds, determinism."""

from __future__ import annotations

import importlib.util
import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
from scipy.stats import qmc

from tests.space.test_space import space
from tune_lb.models.mlp import MLP
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.samplers import CMAES, NSGA2, TPE, GaussianProcess, Sobol
from tune_lb.samplers.distinct import num_combinations, untried
from tune_lb.samplers.sampler import Dimensions
from tune_lb.search.proposers import proposers
from tune_lb.settings.domain import over
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.space.designs import sampling_notes

GHOST = GhostBatchNorm(ghost_batch_size=over([2, 4, 8]))
NOISE = GradientNoise(alpha=over(1e-6, 1e-2, log=True))


def arms():
    return (
        Arm("small", batch_size=8),
        Arm("large"),
        Arm("sharp", SAM(rho=over(0.1, 0.5), m=over(1, 6, integer=True))),
        Arm("all", GHOST, NOISE, SAM(rho=over(0.1, 0.5)), eta_over_b=over(1e-4, 1e-2, log=True)),
    )


def proposals(of, num=20, scored=()):
    found = proposers(of, checked_designs(of))
    return {name: [sampler.propose(i, scored) for i in range(num)] for name, sampler in found.items()}


@pytest.mark.parametrize("sampler", ["sobol", "random"])
def test_arms_share_points_in_shared_dimensions_and_the_placebo_has_its_own(sampler):
    points = proposals(space(*arms(), sampler=sampler))
    assert [p["eta_over_b"] for p in points["small"]] == [p["eta_over_b"] for p in points["large"]]
    assert [p["sam.rho"] for p in points["sharp"]] == [p["sam.rho"] for p in points["all"]]
    # another range of the same dimension: the same place in it
    place = [math.log(p["eta_over_b"] / 1e-3) / math.log(100) for p in points["large"]]
    assert [math.log(p["eta_over_b"] / 1e-4) / math.log(100) for p in points["all"]] == pytest.approx(place, abs=1e-12)
    own = [p["eta_over_b"] for p in points["placebo"]]
    assert not set(own) & {p["eta_over_b"] for p in points["large"]}


@pytest.mark.parametrize("sampler", ["sobol", "random"])
def test_more_samples_extend_the_sequence(sampler):
    few, many = (
        proposals(space(*arms(), sampler=sampler), 5),
        proposals(space(*arms(), sampler=sampler, num_samples=70), 70),
    )
    assert {name: points[:5] for name, points in many.items()} == few
    # asked in any order, as a resumed search does
    fresh = proposers(space(*arms(), sampler=sampler), checked_designs(space(*arms(), sampler=sampler)))["all"]
    assert [fresh.propose(i, ()) for i in (69, 3, 30)] == [many["all"][i] for i in (69, 3, 30)]


def test_the_points_depend_on_the_seed_and_not_on_the_order_of_arms():
    points = proposals(space(*arms()))
    assert proposals(space(*reversed(arms()))) == points
    assert proposals(space(*arms(), seed=1))["large"] != points["large"]


@pytest.mark.parametrize("sampler", ["sobol", "random", "tpe", "gp", "cmaes", "nsga2"])
def test_every_value_lies_in_its_domain(sampler):
    num = 64 if sampler in ("sobol", "random") else 6
    of = space(*arms(), sampler=sampler)
    for design in checked_designs(of):
        for values in proposals(of, num)[design.name]:
            assert values.keys() == design.dimensions.keys()
            assert design.template.resolved(values).problems() == []
            assert values.get("ghost_batch_norm.ghost_batch_size", 2) in (2, 4, 8)
            assert isinstance(values.get("sam.m", 1), int)


def test_sobol_points_fill_the_domain_evenly():
    points = proposals(space(*arms()), 64)["large"]
    cells = [int(64 * math.log(p["eta_over_b"] / 1e-3) / math.log(100)) for p in points]
    assert sorted(cells) == list(range(64))


def test_a_grid_is_every_combination_once():
    grid = (Arm("small", batch_size=8), Arm("large"), Arm("ghost", GHOST))
    of = space(*grid, sampler="grid", eta_over_b=over([0.01, 0.1]))
    found = proposers(of, checked_designs(of))["ghost"]
    combinations = [tuple(found.propose(i, ()).values()) for i in range(6)]
    assert combinations == [(rate, size) for rate in (0.01, 0.1) for size in (2, 4, 8)]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_what_learns_is_a_function_of_what_is_stored_and_goes_where_it_is_good(sampler):
    of = space(*arms(), sampler=sampler)
    scored = [({"eta_over_b": rate}, abs(math.log10(rate / 0.01))) for rate in [10 ** (-3 + i / 10) for i in range(21)]]

    def proposed(index, arm="large"):
        return proposers(of, checked_designs(of))[arm].propose(index, scored)["eta_over_b"]

    found = [proposed(i) for i in range(21, 33)]
    assert found[:3] == [proposed(i) for i in range(21, 24)]
    assert len(set(found)) == 12 or sampler == "gp", "a process that knows where it is good says so each time"
    assert proposed(21, "small") != found[0] or sampler == "gp"
    near = [rate for rate in found if 0.01 / 3 < rate < 0.01 * 3]
    # half of the domain in the logarithm; without learning about half of the proposals would lie there
    assert len(near) >= 10


@pytest.mark.parametrize("sampler", [TPE(), NSGA2(population=8), GaussianProcess()], ids=lambda sampler: sampler.name)
def test_of_several_objectives_the_front_is_sought(sampler):
    """(a - 0.2)^2 and (a - 0.6)^2: the front is 0.2 to 0.6, and a second dimension costs both; from 0.9 on it diverges."""
    of = Dimensions("arm", {"a": over(0.0, 1.0), "b": over(0.0, 1.0)}, ["a", "b"], 0, True, 0, objectives=2)
    proposer = sampler.proposer(of)
    points = [p for p in itertools.islice(proposals_of_sobol(), 32)]
    scored = [({"a": a, "b": b}, ((a - 0.2) ** 2 + b, (a - 0.6) ** 2 + b)) for a, b in points]
    scored = [(values, score if values["a"] < 0.9 else (math.inf, math.inf)) for values, score in scored]
    found = [proposer.propose(i, scored) for i in range(32, 32 + {"tpe": 10, "nsga2": 60, "gp": 2}[sampler.name])]
    # at random the first would be 0.5 and the second half
    assert sum(values["b"] for values in found) / len(found) < (0.4 if sampler.name == "nsga2" else 0.25)
    assert sum(0.15 < values["a"] < 0.65 for values in found) >= 0.75 * len(found) or sampler.name == "nsga2"


def proposals_of_sobol():
    return iter(qmc.Sobol(2, rng=3).random(32).tolist())


def test_cmaes_goes_where_it_is_good_and_is_a_function_of_what_is_stored():
    of = Dimensions("arm", {"a": over(1e-3, 1e-1, log=True), "b": over(1, 9, integer=True)}, ["a", "b"], 0, True, 0)
    scored = []
    for i in range(40):
        values = CMAES().proposer(of).propose(i, scored)
        scored.append((values, math.log10(values["a"] / 0.03) ** 2 + (values["b"] / 4 - 1) ** 2))
    first, last = (sum(score for _, score in part) for part in (scored[:10], scored[-10:]))
    assert last < first / 3
    assert CMAES().proposer(of).propose(30, scored[:30]) == scored[30][0]


def test_what_waits_for_its_result_is_not_proposed_again_by_cmaes():
    of = Dimensions("arm", {"a": over(0.0, 1.0)}, ["a"], 0, True, 0)
    proposer = CMAES().proposer(of)
    scored = [({"a": 0.1 * i}, abs(0.1 * i - 0.3)) for i in range(6)]
    assert len({proposer.propose(i, scored)["a"] for i in range(6, 10)}) == 4
    assert all(set(proposer.propose(i, scored)) == {"a"} for i in (6, 7)), "its second range is thrown away"


@pytest.mark.parametrize(
    ("there", "said"), [(False, "pip install 'tune_lb[cmaes]'"), (True, "moves in ranges, and a are lists")]
)
def test_cmaes_says_what_it_needs(there, said, monkeypatch):
    if not there:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert said in CMAES().domain_problems({"a": over([1, 2])})[0]


@dataclass(frozen=True)
class Halton(Sobol):
    """A sampler as a user writes it: other points in the same place."""

    name: ClassVar[str] = "halton"

    def points(self, power, num_columns, seed):
        return qmc.Halton(num_columns, scramble=True, rng=seed).random(2**power)


def test_a_sampler_of_ones_own_is_a_class_and_nothing_else():
    ours, theirs = (proposals(space(*arms(), sampler=sampler)) for sampler in (Sobol(), Halton()))
    assert theirs["sharp"] != ours["sharp"]
    assert [v["eta_over_b"] for v in theirs["small"]] == [v["eta_over_b"] for v in theirs["large"]]
    assert proposals(space(*arms(), sampler="sobol")) == ours, "the word means the object"


def test_an_arm_with_nothing_to_search_has_one_configuration():
    of = space(lr=0.1, eta_over_b=None)
    found = proposers(of, checked_designs(of))
    assert [found[name].propose(0, ()) for name in ("small", "large")] == [{}, {}]
    assert found["sharp"].propose(0, ()).keys() == {"sam.rho"}


def test_tpe_takes_any_choice_and_passes_over_what_lies_outside():
    models = (MLP(hidden=(6,)), MLP(hidden=(9,)))
    of = space(*arms()[:2], sampler="tpe", model=over(list(models)))
    sampler = proposers(of, checked_designs(of))["large"]
    scored = [({"eta_over_b": 10 ** (-3 + i / 10), "model": models[i % 2]}, float(i % 2)) for i in range(20)]
    found = [sampler.propose(20 + i, scored) for i in range(10)]
    assert all(values["model"] in models for values in found)
    assert sum(values["model"] == models[0] for values in found) >= 7
    outside = [({"eta_over_b": 5.0, "model": models[0]}, 0.0), ({"eta_over_b": 0.01}, 0.0)]
    assert [sampler.propose(20 + i, [*scored, *outside]) for i in range(10)] == found


FINITE = {"a": over([1, 2, 3]), "b": over(2, 4, integer=True), "c": over(["x", "y"])}


def test_combinations_are_counted_where_they_can_be():
    assert num_combinations(FINITE) == 18
    assert num_combinations({}) == 1
    assert num_combinations(FINITE | {"d": over(0.0, 1.0)}) is None


def test_in_place_of_what_was_tried_comes_the_nearest_that_was_not():
    first = {"a": 2, "b": 3, "c": "x"}
    assert untried(FINITE, first, []) == first
    tried = [first]
    while len(tried) < 18:
        found = untried(FINITE, first, tried)
        assert found not in tried
        tried.append(found)
    away = [abs(v["a"] - 2) + abs(v["b"] - 3) + (v["c"] != "x") for v in tried]
    assert away == sorted(away)
    assert untried(FINITE, first, tried) == first, "nothing is left"
    assert untried(FINITE, {"a": 9, "b": 3, "c": "x"}, tried) == {"a": 9, "b": 3, "c": "x"}, "from outside"


def test_of_many_combinations_comes_the_next():
    many = {f"d{i}": over(list(range(10))) for i in range(5)}
    last = dict.fromkeys(many, 9)
    assert untried(many, last, [last]) == dict.fromkeys(many, 0)


@pytest.mark.parametrize("sampler", ["random", "sobol", Halton()])
def test_points_of_a_finite_space_are_each_tried_once(sampler):
    sizes = over([2, 4, 8, 16])
    few, all_ = (
        proposals(
            space(*arms()[:2], sampler=sampler, eta_over_b=None, lr=over([0.1, 0.2]), batch_size=sizes, num_samples=n),
            n,
        )
        for n in (3, 8)
    )
    found = [tuple(values.values()) for values in all_["large"]]
    assert len(set(found)) == 8
    assert few["large"] == all_["large"][:3], "more samples extend the sequence"


def test_arms_with_fewer_combinations_than_asked_for_are_said():
    of = space(Arm("small", batch_size=8, lr=over([0.1, 0.2]), eta_over_b=None), Arm("large"), num_samples=5)
    designs = {design.name: design for design in checked_designs(of)}
    assert (designs["small"].num_samples, designs["large"].num_samples) == (2, 5)
    (note,) = sampling_notes(list(designs.values()))
    assert "fewer combinations than num_samples = 5, each tried once (small 2); " in note
    assert "their budgets are not equal" in note
    assert sampling_notes(checked_designs(space(num_samples=2))) == []
    grid = space(*arms()[:2], sampler="grid", eta_over_b=over([0.1, 0.2]), num_samples=12)
    assert sampling_notes(checked_designs(grid)) == []
