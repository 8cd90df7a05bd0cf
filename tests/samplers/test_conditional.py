"""Samplers and dimensions that are not always there: shares, combinations, repeats, Optuna's own define-by-run, and refusals."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import optuna
import pytest
from scipy.stats import qmc

from tests.search.test_halving import TWICE, Halved, loss_at
from tests.search.test_planner import Run, compared
from tests.space.test_space import space
from tune_lb.errors import RequestError
from tune_lb.optimizers.elementwise import SGD, Adam
from tune_lb.optimizers.lars import LARS
from tune_lb.remedies import SAM, GhostBatchNorm, Warmup
from tune_lb.results.ledger import Ledger
from tune_lb.results.storage import Store
from tune_lb.samplers.coding import coded, decoded
from tune_lb.samplers.distinct import may_repeat, num_combinations, untried
from tune_lb.samplers.sampler import Stopped
from tune_lb.search.proposers import proposers
from tune_lb.settings.domain import Condition, over
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.streams import seed_of
from tune_lb.tuning.recorded_proposals import record_proposals, recorded_proposals

ONE_OF = over([SAM(rho=over(0.1, 0.5)), GhostBatchNorm(ghost_batch_size=over([4, 8, 12])), None])
LISTED = over([SAM(rho=over([0.1, 0.2, 0.3])), GhostBatchNorm(ghost_batch_size=over([4, 8])), None])
NAMES = ["sam", "ghost_batch_norm", "none"]
OWN = {"sam": {"sam.rho"}, "ghost_batch_norm": {"ghost_batch_norm.ghost_batch_size"}, "none": set()}


def arms(remedies=ONE_OF, **settings):
    return Arm("small", batch_size=4), Arm("large"), Arm("own", remedies, **settings)


def proposals(of, num, scored=()):
    proposer = proposers(of, checked_designs(of))["own"]
    return [proposer.propose(i, scored) for i in range(num)]


def test_points_are_read_through_the_list_and_only_what_is_there_is_proposed():
    found = proposals(space(*arms(), seed=3), 64)
    # the columns of all arms by name, in the points that SciPy makes
    columns = ["eta_over_b", "ghost_batch_norm.ghost_batch_size", "remedy", "sam.rho"]
    points = qmc.Sobol(4, scramble=True, rng=seed_of("points", 3, "") % 2**32).random_base2(6)
    by_hand = []
    for point in points:
        u = dict(zip(columns, point, strict=True))
        name = NAMES[int(3 * u["remedy"])]
        own = {"eta_over_b": math.exp(math.log(1e-3) + u["eta_over_b"] * math.log(100)), "remedy": name}
        own |= {"sam.rho": 0.1 + 0.4 * u["sam.rho"]} if name == "sam" else {}
        if name == "ghost_batch_norm":
            own[columns[1]] = (4, 8, 12)[int(3 * u[columns[1]])]
        by_hand.append(own)
    assert [values.keys() for values in found] == [values.keys() for values in by_hand]
    for ours, theirs in zip(found, by_hand, strict=True):
        assert {k: v for k, v in ours.items() if not isinstance(v, float)} == {
            k: v for k, v in theirs.items() if not isinstance(v, float)
        }
        assert [v for v in ours.values() if isinstance(v, float)] == pytest.approx(
            [theirs[k] for k, v in ours.items() if isinstance(v, float)]
        )
    assert all(20 <= n <= 22 for n in Counter(values["remedy"] for values in found).values()), "a third each"


@pytest.mark.parametrize("sampler", ["sobol", "random", "tpe"])
def test_every_configuration_has_what_is_there_and_no_more(sampler):
    for values in proposals(space(*arms(), sampler=sampler), 12):
        assert values.keys() == {"eta_over_b", "remedy"} | OWN[values["remedy"]]


def test_a_grid_has_each_combination_of_what_is_there_once():
    of = space(*arms(LISTED), sampler="grid", eta_over_b=over([0.01, 0.02]))
    design = next(design for design in checked_designs(of) if design.name == "own")
    assert design.num_samples == 2 * (3 + 2 + 1)
    expected = [
        *({"remedy": "sam", "sam.rho": rho, "eta_over_b": r} for rho in (0.1, 0.2, 0.3) for r in (0.01, 0.02)),
        *(
            {"remedy": "ghost_batch_norm", "ghost_batch_norm.ghost_batch_size": n, "eta_over_b": r}
            for n in (4, 8)
            for r in (0.01, 0.02)
        ),
        *({"remedy": "none", "eta_over_b": r} for r in (0.01, 0.02)),
    ]
    found = proposals(of, design.num_samples)
    assert all(each in found for each in expected)
    assert len(found) == len(expected)


DOMAINS = {
    "kind": over(["a", "b"]),
    "x": over(0.0, 1.0),
    "n": over([1, 2, 3]),
}
DOMAINS["x"] = type(DOMAINS["x"])(0.0, 1.0, only=Condition("kind", ("a",)))
DOMAINS["n"] = type(DOMAINS["n"])((1, 2, 3), only=Condition("kind", ("b",)))


def test_combinations_are_those_of_each_alternative():
    assert num_combinations(DOMAINS) is None
    assert may_repeat(DOMAINS)
    assert num_combinations({name: DOMAINS[name] for name in ("kind", "n")}) == 1 + 3
    assert not may_repeat({"kind": DOMAINS["kind"], "x": over(0.0, 1.0)})


def test_in_place_of_what_was_tried_comes_the_nearest_that_is_there():
    tried = []
    for _ in range(5):
        tried.append(untried(DOMAINS, {"kind": "b", "n": 2, "x": 0.25}, tried))
    # what is not there makes no other configuration
    own = [{"kind": v["kind"]} | ({"n": v["n"]} if v["kind"] == "b" else {"x": v["x"]}) for v in tried]
    assert [v.get("n") for v in own[:3]] == [2, 1, 3]
    assert own[3] == {"kind": "a", "x": 0.25}, "the three are used up: the point is read through the other alternative"
    assert len({str(v) for v in own[:4]}) == 4


@pytest.mark.parametrize("sampler", ["sobol", "random", "grid", "tpe"])
def test_nothing_is_tried_twice(sampler):
    of = compared(*arms(LISTED, eta_over_b=0.01), eta_over_b=0.01, sampler=sampler, num_samples=8, candidates=1)
    run = Run(of)
    tried = [candidate.values for candidate in run.search.arms["own"].candidates.values()]
    assert len(tried) == 6 == len({str(sorted(v.items())) for v in tried})
    assert Counter(v["remedy"] for v in tried) == {"sam": 3, "ghost_batch_norm": 2, "none": 1}


@pytest.mark.parametrize("sampler", ["sobol", "tpe"])
def test_an_alternative_without_numbers_is_tried_once_where_nothing_else_is_searched(sampler):
    of = compared(
        *arms(over([SAM(rho=over(0.1, 0.5)), None])), eta_over_b=0.01, sampler=sampler, num_samples=8, candidates=1
    )
    tried = [candidate.values for candidate in Run(of).search.arms["own"].candidates.values()]
    assert Counter(values["remedy"] for values in tried) == {"sam": 7, "none": 1}
    assert len({values["sam.rho"] for values in tried if values["remedy"] == "sam"}) == 7


def loss_of(values):
    """Say what a configuration scores: SAM is best, at 0.3; a ghost size of 8 is next."""
    if values["remedy"] == "sam":
        return 1.0 + abs(values["sam.rho"] - 0.3)
    return 1.5 + abs(values.get("ghost_batch_norm.ghost_batch_size", 40) - 8)


def test_tpe_proposes_what_optuna_proposes_when_it_defines_by_run():
    of = space(*arms(), sampler="tpe", seed=5)
    proposer = proposers(of, checked_designs(of))["own"]
    scored, theirs = [], []
    for index in range(25):
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed_of(seed_of("tpe", 5, "own"), index) % 2**32)
        )
        study.add_trials(theirs)
        trial = study.ask()
        expected = {"eta_over_b": trial.suggest_float("eta_over_b", 1e-3, 1e-1, log=True)}
        expected["remedy"] = NAMES[trial.suggest_categorical("remedy", (0, 1, 2))]
        if expected["remedy"] == "sam":
            expected["sam.rho"] = trial.suggest_float("sam.rho", 0.1, 0.5)
        if expected["remedy"] == "ghost_batch_norm":
            name = "ghost_batch_norm.ghost_batch_size"
            expected[name] = (4, 8, 12)[trial.suggest_categorical(name, (0, 1, 2))]
        found = proposer.propose(index, scored)
        assert found == expected
        scored.append((found, loss_of(found)))
        study.tell(trial, loss_of(found))
        theirs = study.get_trials()
    late = Counter(values["remedy"] for values, _ in scored[15:])
    assert late["sam"] >= 6, "it learns which alternative is best"


def test_optuna_is_told_what_was_there_in_trials_that_were_stopped(monkeypatch):
    seen = []
    monkeypatch.setattr(
        optuna.samplers.TPESampler, "sample_relative", lambda self, study, trial, space: seen.append(study.trials) or {}
    )
    proposer = proposers(of := space(*arms(), sampler="tpe"), checked_designs(of))["own"]
    nothing = {"eta_over_b": 0.01, "remedy": "none"}
    proposer.propose(2, [(nothing, 0.5), (nothing | {"remedy": "sam", "sam.rho": 0.2}, Stopped(1, 0.9))])
    whole, stopped, *_ = seen[0]
    assert (whole.state.name, whole.params) == ("COMPLETE", {"eta_over_b": 0.01, "remedy": 2})
    assert (stopped.state.name, stopped.params) == ("PRUNED", {"eta_over_b": 0.01, "remedy": 0, "sam.rho": 0.2})


def test_recorded_values_are_those_that_are_there():
    of = space(*arms(), sampler="tpe")
    domains = next(design.dimensions for design in checked_designs(of) if design.name == "own")
    values = {"eta_over_b": 0.01, "remedy": "ghost_batch_norm", "ghost_batch_norm.ghost_batch_size": 8}
    numbers = coded(domains, values)
    assert numbers == {"eta_over_b": 0.01, "remedy": 1, "ghost_batch_norm.ghost_batch_size": 1}
    assert decoded(domains, numbers) == values


@pytest.mark.parametrize("sampler", ["gp", "cmaes", "nsga2"])
@pytest.mark.parametrize(
    ("own", "name", "where"),
    [
        (arms(), "sam.rho", "remedy is sam"),
        (
            (*arms()[:2], Arm("own", optimizer=over([SGD(momentum=over(0.0, 0.9)), Adam()]))),
            "momentum",
            "optimizer is SGD",
        ),
    ],
)
def test_samplers_that_cannot_say_so_and_what_to_take(sampler, own, name, where):
    with pytest.raises(RequestError) as error:
        checked_designs(space(*own, sampler=sampler))
    assert error.value.problems == [
        f"arm 'own': sampler {sampler} cannot propose {name}, which is there only where {where}: take sobol, random or tpe, or "
        "give each alternative of the list an arm of its own"
    ]


def test_points_choose_an_alternative_by_its_fields():
    given = (
        {"sam.rho": 0.2},
        {"remedy": "none", "sam.rho": 0.4},
        {"eta_over_b": 0.05, "remedy": "ghost_batch_norm"},
    )
    plain = proposals(space(*arms()), 8)
    for sampler in ("sobol", "tpe"):
        found = proposals(space(*arms(), sampler=sampler, points=given), 8)
        assert (found[0]["remedy"], found[0]["sam.rho"]) == ("sam", 0.2)
        assert found[1].keys() == {"eta_over_b", "remedy"}
        assert (found[2]["eta_over_b"], found[2]["remedy"]) == (0.05, "ghost_batch_norm")
        assert found[2]["ghost_batch_norm.ghost_batch_size"] in (4, 8, 12)
    assert proposals(space(*arms(), points=given), 8)[3:] == plain[3:]


@pytest.mark.parametrize(
    ("point", "said"),
    [
        (
            {"sam.rho": 0.2, "ghost_batch_norm.ghost_batch_size": 8},
            "space.points[0]: sam.rho is there where remedy is sam: give remedy as well (arm 'own')",
        ),
        ({"remedy": "smm"}, "remedy = 'smm' is outside of {sam, ghost_batch_norm, none}"),
        ({"sam.rho": 0.7}, "sam.rho = 0.7 is outside of 0.1 .. 0.5, where remedy is sam"),
    ],
)
def test_points_that_do_not_say_which_alternative_are_refused(point, said):
    with pytest.raises(RequestError) as error:
        checked_designs(space(*arms(), points=(point,)))
    assert any(said in line for line in error.value.problems), error.value.problems


@pytest.mark.parametrize("momentum", [over(0.0, 0.9), over(0.5, 0.9)])
def test_derived_arms_take_the_optimizer_that_their_source_was_decided_for(momentum):
    optimizer = over([SGD(momentum=over(0.0, 0.9)), LARS(momentum=momentum), Adam(beta1=over(0.5, 0.9))])
    for seed in range(3):
        search = Run(compared(optimizer=optimizer, seed=seed)).search
        source, copied = (search.selected(name).trial for name in ("small", "large_copied"))
        assert copied.optimizer == source.optimizer
        assert copied.learning_rate == source.learning_rate
        assert copied.drawn == source.drawn


def test_an_arm_with_a_list_takes_from_those_that_it_combines():
    sharp = Arm("sharp", SAM(rho=over(0.1, 0.5)))
    both = Arm("both", ONE_OF, over([Warmup(epochs=over(1.0, 2.0)), None]), combines=("sharp", "large"))
    search = Run(compared(*arms()[:2], sharp, both)).search
    of_sharp, of_large = (search.arms["both"].candidates[i] for i in (0, 1))
    best = search.kept(search.arms["sharp"])[0].values
    assert of_sharp.values == {
        "eta_over_b": best["eta_over_b"],
        "remedy": "sam",
        "sam.rho": best["sam.rho"],
        "remedy2": "none",
    }
    assert (of_large.values["remedy"], of_large.values["remedy2"]) == ("none", "none")


def test_a_killed_search_goes_on_from_what_was_proposed(tmp_path):
    # numbers of one alternative alone: proposals of the other are moved
    of = compared(*arms(over([SAM(rho=over(0.1, 0.5)), None])), eta_over_b=0.01, sampler="tpe", num_samples=13)
    ledger = Ledger(Store(tmp_path))
    killed = Run(of, limit=42)
    record_proposals(ledger, killed.search.new_proposals())
    proposed = recorded_proposals(ledger, checked_designs(of))
    assert proposed["own"] == killed.search.proposed["own"]
    resumed = Run(of, known=killed.scores, proposed=proposed)
    assert resumed.search.finished
    assert len({m.configuration_id for run in (killed, resumed) for m in run.of("own", "search")}) == 13
    assert not Run(of, known=resumed.scores, proposed=resumed.search.proposed).jobs


@pytest.mark.parametrize("sampler", ["sobol", "tpe"])
def test_configurations_of_all_alternatives_are_halved_together(sampler):
    run = Halved(compared(*arms(), num_samples=8, candidates=2, stopping=TWICE, sampler=sampler))
    every, second, whole = (run.ids("own", look) for look in (1, 2, 0))
    assert [len(every), len(second), len(whole)] == [8, 4, 2]
    assert set(second) == set(sorted(every, key=lambda name: loss_at(name, 1))[:4])


def test_an_extended_search_goes_on_in_the_sequence():
    few, many = (proposals(space(*arms(), num_samples=n), n) for n in (8, 20))
    assert many[:8] == few
    assert all(a != b for a, b in itertools.combinations(many, 2))
