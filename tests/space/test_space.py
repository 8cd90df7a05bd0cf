"""Search spaces: the arms that are run, overrides, identity, and one line for every mistake."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from tests.trainings import Blobs
from tune_lb.budgets import Epochs, Updates
from tune_lb.errors import RequestError
from tune_lb.metrics import LambdaMax, Trace
from tune_lb.models.mlp import MLP
from tune_lb.optimizers.elementwise import SGD
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs, space_problems
from tune_lb.space.description import space_hash
from tune_lb.space.designs import unchecked_designs
from tune_lb.space.space import Space
from tune_lb.training.remedy import Remedy

RATE = over(1e-3, 1e-1, log=True)


def space(*arms, **settings):
    """Return a space of a small batch, a large batch, SAM and noise."""
    chosen = {
        "question": "Does it help?",
        "data": Blobs(),
        "model": MLP(hidden=(6,)),
        "batch_size": 24,
        "eta_over_b": RATE,
        "baseline": "small",
        "reference": "large",
    }
    own = arms or (
        Arm("small", batch_size=4),
        Arm("large"),
        Arm("sharp", SAM(rho=over(0.1, 0.5))),
        Arm("noisy", GradientNoise(alpha=over(1e-6, 1e-2, log=True))),
    )
    return Space(**(chosen | {"arms": own} | settings))


def test_the_arms_that_a_comparison_needs_are_added():
    designs = {design.name: design for design in checked_designs(space())}
    assert {name: design.role for name, design in designs.items()} == {
        "small": "baseline",
        "large": "reference",
        "large_copied": "copied",
        "large_scaled": "scaled",
        "placebo": "placebo",
        "large_2x_epochs": "compute_matched",
        "sharp": "arm",
        "noisy": "arm",
    }
    assert list(designs)[:5] == ["small", "large", "large_copied", "large_scaled", "placebo"]
    reference = designs["large"].template
    for name in ("large_copied", "large_scaled"):
        assert designs[name].template == replace(reference, arm=name)
        assert (designs[name].derived_from, designs[name].num_samples) == ("small", 0)
    assert designs["placebo"].template == replace(reference, arm="placebo")
    assert [name for name, design in designs.items() if not design.shares_points] == ["placebo"]


def test_the_compute_matched_arm_trains_as_many_gradients():
    designs = {design.name: design for design in checked_designs(space(budget=Epochs(7.0)))}
    matched, sharp = designs["large_2x_epochs"].template, designs["sharp"].template
    assert matched.budget == Epochs(14.0)
    assert matched.plan(24).gradient_evaluations == sharp.plan(24).gradient_evaluations == 14
    assert {name: design.matched_by for name, design in designs.items() if design.matched_by} == {
        "sharp": "large_2x_epochs"
    }


def test_arms_as_costly_as_the_reference_need_no_match():
    arms = (Arm("small", batch_size=4), Arm("large", SAM(rho=0.1)), Arm("sharper", SAM(rho=0.5)))
    assert [design.role for design in checked_designs(space(*arms))].count("compute_matched") == 0


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"derived": False}, {"large_copied", "large_scaled"}),
        ({"placebo": False}, {"placebo"}),
        ({"compute_matched": False}, {"large_2x_epochs"}),
        ({"budget": Updates(5)}, {"large_2x_epochs"}),
        ({"baseline": None}, {"large_copied", "large_scaled"}),
        ({"reference": None}, {"large_copied", "large_scaled", "placebo", "large_2x_epochs"}),
    ],
)
def test_added_arms_can_be_left_out(settings, missing):
    names = {design.name for design in checked_designs(space())}
    assert {design.name for design in checked_designs(space(**settings))} == names - missing


def test_an_arm_overrides_the_space():
    arms = (
        Arm("small", batch_size=4),
        Arm("large"),
        Arm("rated", lr=0.5, eta_over_b=None, optimizer=SGD(momentum=0.5)),
    )
    rated = {design.name: design.template for design in checked_designs(space(*arms))}["rated"]
    assert (rated.learning_rate, rated.batch_size, rated.optimizer) == (0.5, 24, SGD(momentum=0.5))
    fixed = space(*(Arm(arm.name, batch_size=24) for arm in arms), lr=None, eta_over_b=0.1)
    assert {design.num_samples for design in checked_designs(fixed) if not design.derived_from} == {1}


def test_a_grid_has_as_many_samples_as_combinations():
    arms = (Arm("small", batch_size=4), Arm("large", GhostBatchNorm(ghost_batch_size=over([2, 4, 8]))))
    designs = checked_designs(space(*arms, sampler="grid", eta_over_b=over([0.01, 0.1])))
    assert {design.name: design.num_samples for design in designs[:2]} == {"small": 2, "large": 6}


@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("epochs", 3, {"small", "large", "sharp", "noisy"}),
        ("batch_size", 12, {"small", "large", "sharp", "noisy"}),
        ("momentum", 0.5, {"small", "large", "sharp", "noisy"}),
        ("sam.rho", 0.25, {"sharp"}),
        ("small.batch_size", 6, {"small"}),
        ("sharp.sam.rho", 0.3, {"sharp"}),
        ("data.num_train", 48, {"small", "large", "sharp", "noisy"}),
    ],
)
def test_overrides_reach_the_arms_that_have_the_field(key, value, changed):
    before = {design.name: design.template for design in checked_designs(space())}
    after = {design.name: design.template for design in checked_designs(space().overridden([(key, value)]))}
    assert {name for name in ("small", "large", "sharp", "noisy") if before[name] != after[name]} == changed
    # what is derived from an arm follows it
    assert after["large_copied"] == replace(after["large"], arm="large_copied")


def test_an_override_of_the_rate_replaces_the_other_way_of_giving_it():
    found = space().overridden([("lr", 0.5), ("candidates", 4), ("metrics", ["trace"])])
    assert {(d.template.lr, d.template.eta_over_b) for d in checked_designs(found)} == {(0.5, None)}
    assert (found.candidates, found.metrics, found.overrides) == (4, (Trace(),), (("lr", 0.5),))
    twice = found.overridden([("lr", 0.25)])
    assert {d.template.lr for d in checked_designs(twice)} == {0.25}


@dataclass(frozen=True)
class Chosen(Remedy):
    name: ClassVar[str] = "chosen"
    how: str | None = setting("mean", "what is taken", one_of=("mean", "none", None))
    what: str = setting("all", "of what")
    most: float | None = setting(1.0, "at most")


def test_none_is_typed_in_any_field_that_may_be_none_and_has_no_such_value():
    asked = space(Arm("small", batch_size=4), Arm("large"), Arm("chosen", Chosen()), optimizer=SGD(clip_norm=1.0))
    names = ("clip_norm", "chosen.how", "chosen.what", "chosen.most", "walk", "fresh_splits", "members_per_arm")
    found = asked.overridden([(name, "none") for name in names])
    template = {design.name: design.template for design in unchecked_designs(found)}["chosen"]
    assert template.optimizer == SGD(clip_norm=None)
    assert template.remedies == (Chosen(how="none", what="none", most=None),)
    assert (found.walk, found.fresh_splits, found.members_per_arm) == (None, None, None)
    rated = asked.overridden([("small.lr", 0.5), ("small.lr", "none"), ("small.eta_over_b", 0.25)])
    assert {d.template.lr for d in unchecked_designs(rated) if d.name == "small"} == {None}
    (problem,) = {line for line in space_problems(asked.overridden([("small.batch_size", "none")])) if "batch" in line}
    assert "must be a whole number, not 'none'" in problem


SAME_MEANING = [
    {"confirm_blocks": 30},
    {"block_seeds": 5},
    {"measured_blocks": 0},
    {"watched_blocks": 1},
    {"question": "Does it?"},
]
OTHER_MEANING = [
    {"seed": 1},
    {"sampler": "random"},
    {"num_samples": 30},
    {"candidates": 2},
    {"decide_blocks": 2},
    {"fresh_splits": False},
    {"select_by": "loss"},
    {"eta_over_b": over(1e-3, 2e-1, log=True)},
    {"eta_over_b": over(1e-3, 1e-1)},
    {"data": Blobs(num_features=6)},
    {"model": MLP(hidden=(6, 6))},
    {"budget": Epochs(21.0)},
    {"baseline": None},
    {"placebo": False},
    {"metrics_on": "all"},
    {"optimizer": SGD(momentum=0.8)},
]


@pytest.mark.parametrize("settings", SAME_MEANING, ids=str)
def test_the_hash_is_the_same_for_more_of_the_same(settings):
    assert space_hash(space(**settings)) == space_hash(space())


def test_the_hash_does_not_see_the_order_of_arms_nor_how_a_number_is_written():
    arms = space().arms
    assert space_hash(space(*reversed(arms))) == space_hash(space())
    assert space_hash(space(budget=Epochs(20))) == space_hash(space())
    assert space_hash(space().overridden([("epochs", 20)])) == space_hash(space())


def test_the_hash_changes_with_the_meaning():
    hashes = [space_hash(space()), *(space_hash(space(**settings)) for settings in OTHER_MEANING)]
    hashes.append(space_hash(space(*space().arms, Arm("more", batch_size=12))))
    hashes.append(space_hash(space().overridden([("sam.rho", 0.25)])))
    assert len(set(hashes)) == len(hashes)


def test_metrics_are_given_as_objects_or_by_name():
    named, built = (space(metrics=given) for given in (("lambda_max(tolerance=0.1)",), (LambdaMax(tolerance=0.1),)))
    assert named.metrics == built.metrics
    assert space_hash(named) == space_hash(built)


MISTAKES = {
    "no arms": ({"arms": ()}, ["there are no arms"]),
    "baseline": ({"baseline": "smal"}, ["space.baseline = 'smal' is not among the arms; did you mean 'small'?"]),
    "same": ({"baseline": "large"}, ["baseline and reference are the same arm, 'large'"]),
    "both rates": ({"lr": 0.1}, ["space: lr and eta_over_b are both given; give one (lr = eta_over_b * batch_size)"]),
    "no rate": ({"eta_over_b": None}, ["space: neither lr nor eta_over_b is given"]),
    "type": ({"candidates": "three"}, ["space.candidates = three: must be a whole number, not 'three'"]),
    "range": ({"confirm_blocks": 0}, ["space.confirm_blocks = 0: must be at least 1"]),
    "rate": ({"eta_over_b": -1.0}, ["space.eta_over_b = -1.0: must be above 0"]),
    "part": ({"optimizer": SGD(momentum=2.0)}, ["space: optimizer.momentum = 2.0: must be below 1"]),
    "not a part": ({"optimizer": "sgd"}, ["space.optimizer = sgd: must be of type OptimizerSettings, not 'sgd'"]),
    "budget": ({"budget": Epochs("5")}, ["space: budget.epochs = 5: must be a number, not '5'"]),
    "one of": (
        {"sampler": "sobl"},
        [
            "must be a sampler, as in Sobol(), or one of 'sobol', 'random', 'grid', 'tpe', 'gp', "
            "'cmaes', 'nsga2'; did you mean 'sobol'?"
        ],
    ),
    "no batch": ({"batch_size": None}, ["arms 'large', 'sharp', 'noisy': batch_size is not given"]),
    "blocks": ({"decide_blocks": 501}, ["space.decide_blocks = 501: must be at most 500"]),
    "splits": ({"fresh_splits": "no"}, ["space.fresh_splits = no: must be True or False or None, not 'no'"]),
    "selects": ({"select_by": "accuracy"}, ["space.select_by = accuracy: must be one of 'auto', 'loss', 'error'"]),
    "old field": (
        {"overrides": (("confirm_seeds", 3),)},
        ["confirm_seeds=3: no field of the space or of an arm has that name; give confirm_blocks and block_seeds"],
    ),
    "not arms": ({"arms": ("small",)}, ["space.arms: a tuple of Arm(...) is needed"]),
    "metric": (
        {"metrics": ("lambda_mx",)},
        ["space.metrics: there is no metric 'lambda_mx'; did you mean 'lambda_max'"],
    ),
    "setting of a metric": (
        {"metrics": ("lambda_max(tol=1)",)},
        ["space.metrics: metric lambda_max has no setting 'tol'"],
    ),
    "not a metric": ({"metrics": (3,)}, ["space.metrics: metric 3: give a name or an instance, as in LambdaMax()"]),
    "metrics": ({"metrics": (Trace(), "trace")}, ["space.metrics: metric trace is given twice"]),
    "grid": ({"sampler": "grid"}, ["sampler grid needs lists of values, eta_over_b is the range 0.001 .. 0.1 (log)"]),
    "unknown": (
        {"overrides": (("epohcs", 3),)},
        ["epohcs=3: no field of the space or of an arm has that name; did you mean 'epochs'?"],
    ),
    "override": ({"overrides": (("epochs", 0),)}, ["space: budget.epochs = 0: must be above 0"]),
    "count": (
        {"overrides": (("sharp.sam.m", 2.5),)},
        ["arm 'sharp': sam.m = 2.5: must be a whole number or None, not 2.5"],
    ),
}


@pytest.mark.parametrize(("settings", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_one_mistake_of_the_space_is_one_line(settings, expected):
    broken = replace(space(), **settings)
    lines = space_problems(broken)
    concerned = [line for line in lines if any(text in line for text in expected)]
    assert len(concerned) == 1, lines
    # an empty or wrong list of arms, or a grid of several ranges, has more to say
    assert len(lines) == 1 or "arms" in settings or "sampler" in settings, lines
    with pytest.raises(RequestError) as raised:
        checked_designs(broken)
    assert raised.value.problems == lines


ARM_MISTAKES = {
    "unknown field": (Arm("new", bath_size=3), "arm 'new' has no field 'bath_size'; did you mean 'batch_size'?"),
    "name": (Arm("a b"), "arm 'a b': names are letters, digits and _"),
    "twice": (Arm("large"), "two arms are named 'large'"),
    "derived": (Arm("placebo"), "arm 'placebo': the space adds an arm of that name"),
    "combines": (
        Arm("new", combines=("shapr",)),
        "arm 'new' combines 'shapr', which is not an arm; did you mean 'sharp'?",
    ),
    "itself": (Arm("new", combines=("new", "sharp")), "arm 'new' combines itself; name other arms"),
    "combined twice": (Arm("new", combines=("sharp", "sharp")), "arm 'new' combines 'sharp' twice; name it once"),
    "nothing to take": (Arm("new", eta_over_b=0.1, combines=("sharp",)), "arm 'new' combines other arms but searches"),
    "remedy": (Arm("new", "sam"), "arm 'new': 'sam' is not a remedy"),
    "rho": (Arm("new", SAM(rho=-1.0)), "arm 'new': sam.rho = -1.0: must be at least 0"),
    "domain": (Arm("new", SAM(rho=over(0.5, 0.1))), "sam.rho: over(0.5, 0.1): the first end must be below the second"),
    "whole": (
        Arm("new", GhostBatchNorm(ghost_batch_size=over(2, 8))),
        "ghost_batch_size = 2 .. 8: must be a whole number",
    ),
    "repeated": (Arm("new", SAM(rho=0.1), SAM(rho=0.2)), "remedy sam is given twice"),
    "both": (Arm("new", lr=0.1, eta_over_b=0.1), "arm 'new': lr and eta_over_b are both given"),
    "batch": (Arm("new", batch_size="all"), "arm 'new'.batch_size = all: must be a whole number, not 'all'"),
}


@pytest.mark.parametrize(("arm", "expected"), ARM_MISTAKES.values(), ids=ARM_MISTAKES)
def test_one_mistake_of_an_arm_is_one_line(arm, expected):
    (line,) = space_problems(space(*space().arms, arm))
    assert expected in line


def test_arms_that_combine_each_other_in_a_circle_are_refused_once():
    circle = (Arm("a", combines=("large", "c")), Arm("b", combines=("a",)), Arm("c", combines=("b", "sharp")))
    (line,) = space_problems(space(*space().arms, *circle))
    assert "in a circle (a -> c -> b -> a)" in line
    # a chain is none
    chain = (Arm("a", combines=("large",)), Arm("b", combines=("a", "large")), Arm("c", combines=("b", "a")))
    assert space_problems(space(*space().arms, *chain)) == []


def test_several_mistakes_are_reported_together():
    arms = (Arm("small", batch_size=0), Arm("large", bath_size=3), Arm("sharp", SAM(rho=-1.0)))
    broken = space(*arms, baseline="smal", candidates=0, lr=0.1, overrides=(("epohcs", 3),))
    lines = space_problems(broken)
    wanted = ["baseline", "candidates = 0", "batch_size = 0", "bath_size", "rho = -1.0", "both given", "epohcs"]
    assert [sum(word in line for line in lines) for word in wanted] == [1] * 7
    assert len(lines) == 7
