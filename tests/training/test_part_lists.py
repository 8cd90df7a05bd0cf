"""Lists of parts that have fields of their own to search: what is drawn, what is there then, and what is refused."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import pytest

from tests.space.test_space import space
from tune_lb.cli.train import middle
from tune_lb.errors import RequestError
from tune_lb.models.mlp import MLP
from tune_lb.optimizers.elementwise import SGD, Adam
from tune_lb.optimizers.groups import Group
from tune_lb.optimizers.lars import LARS
from tune_lb.remedies import EMA, SAM, GhostBatchNorm, GradientNoise, Warmup
from tune_lb.schedules import Cosine, Step
from tune_lb.settings.active import ends
from tune_lb.settings.domain import Condition, over
from tune_lb.settings.setting import setting
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.space.designs import template_of
from tune_lb.space.own_code import code_of_arms
from tune_lb.space.smoke import smoke
from tune_lb.training.part_lists import in_rows
from tune_lb.training.remedy import Remedy

ONE_OF = over([SAM(rho=over(0.1, 0.5)), GhostBatchNorm(ghost_batch_size=over([4, 8])), None])
WARMUP = over([Warmup(epochs=over(1.0, 2.0)), None])
OPTIMIZER = over([SGD(momentum=over(0.0, 0.9)), Adam(beta1=over(0.5, 0.9), weight_decay=0.01)])


def f(shape, classes):
    """Be a network of the user's."""
    return MLP(hidden=(3,))(shape, classes)


def template(*remedies, **settings):
    """Return the trial of an arm, its domains in their places."""
    of = space(Arm("small", batch_size=4), Arm("large"), Arm("own", *remedies, **settings))
    return next(design.template for design in checked_designs(of) if design.name == "own")


def test_what_is_drawn_is_a_dimension_and_fields_are_there_where_they_are_drawn():
    found = template(ONE_OF, WARMUP, optimizer=OPTIMIZER).dimensions()
    assert {name: domain.only for name, domain in found.items()} == {
        "eta_over_b": None,
        "optimizer": None,
        "remedy": None,
        "remedy2": None,
        "momentum": Condition("optimizer", ("SGD",)),
        "beta1": Condition("optimizer", ("Adam",)),
        "sam.rho": Condition("remedy", ("sam",)),
        "ghost_batch_norm.ghost_batch_size": Condition("remedy", ("ghost_batch_norm",)),
        "warmup.epochs": Condition("remedy2", ("warmup",)),
    }
    assert found["remedy"].values == ("sam", "ghost_batch_norm", "none")
    assert str(found["sam.rho"]) == "0.1 .. 0.5, where remedy is sam"
    assert found["sam.rho"].as_json()["only"] == {"name": "remedy", "values": ["sam"]}


def test_a_resolved_trial_has_what_was_drawn_alone():
    own = template(ONE_OF, WARMUP, optimizer=OPTIMIZER)
    given = {"eta_over_b": 0.01, "remedy": "sam", "sam.rho": 0.2, "remedy2": "none", "optimizer": "Adam", "beta1": 0.7}
    trial = own.resolved(given)
    assert trial.remedies == (SAM(rho=0.2),)
    assert trial.optimizer == Adam(beta1=0.7, weight_decay=0.01)
    assert not trial.dimensions()
    row = trial.columns()
    assert (row["remedy"], row["remedy2"], row["optimizer"]) == ("sam", "none", "Adam")
    assert (row["remedies"], row["sam.rho"]) == ("sam", 0.2)
    assert not {"ghost_batch_norm.ghost_batch_size", "warmup.epochs"} & row.keys()
    # values of what is not there make no other trial
    other = own.resolved(given | {"ghost_batch_norm.ghost_batch_size": 8, "warmup.epochs": 1.5, "momentum": 0.3})
    assert other == trial
    assert other.trial_id("data") == trial.trial_id("data")
    assert own.resolved(given | {"sam.rho": 0.3}).trial_id("data") != trial.trial_id("data")


def test_alternatives_that_are_nothing_differ_from_those_that_are():
    own = template(ONE_OF)
    nothing = own.resolved({"eta_over_b": 0.01, "remedy": "none"})
    assert nothing.remedies == ()
    assert nothing.columns()["remedy"] == "none"


def test_a_tuple_of_remedies_is_one_alternative():
    both = (SAM(rho=over(0.1, 0.5)), EMA(half_life=0.9))
    own = template(over([SAM(rho=over(0.1, 0.5)), both, EMA(half_life=over(0.8, 0.99))]))
    assert own.dimensions()["remedy"].values == ("sam", "sam+ema", "ema")
    assert own.dimensions()["sam.rho"].only == Condition("remedy", ("sam", "sam+ema"))
    trial = own.resolved({"eta_over_b": 0.01, "remedy": "sam+ema", "sam.rho": 0.2})
    assert set(trial.remedies) == {SAM(rho=0.2), EMA(half_life=0.9)}


def test_a_field_that_alternatives_search_over_other_domains_is_a_dimension_of_each():
    optimizers = over([SGD(momentum=over(0.0, 0.9)), LARS(momentum=over(0.5, 0.9)), Adam(weight_decay=over(0.0, 0.1))])
    own = template(optimizer=optimizers)
    assert {name: (str(domain).partition(",")[0], domain.only) for name, domain in own.dimensions().items()} == {
        "eta_over_b": ("0.001 .. 0.1 (log)", None),
        "optimizer": ("{SGD", None),
        "SGD.momentum": ("0 .. 0.9", Condition("optimizer", ("SGD",))),
        "LARS.momentum": ("0.5 .. 0.9", Condition("optimizer", ("LARS",))),
        "weight_decay": ("0 .. 0.1", Condition("optimizer", ("Adam",))),
    }
    given = {"eta_over_b": 0.01, "SGD.momentum": 0.3, "LARS.momentum": 0.7}
    lars, sgd = (own.resolved(given | {"optimizer": name}) for name in ("LARS", "SGD"))
    assert (lars.optimizer, sgd.optimizer) == (LARS(momentum=0.7), SGD(momentum=0.3))
    row = lars.columns()
    assert (row["optimizer"], row["momentum"], row["LARS.momentum"]) == ("LARS", 0.7, 0.7)
    assert "SGD.momentum" not in row
    one_fixed = own.resolved({"LARS.momentum": 0.6})
    assert one_fixed.dimensions().keys() == {"eta_over_b", "optimizer", "momentum", "weight_decay"}
    assert one_fixed.resolved({"eta_over_b": 0.01, "optimizer": "LARS"}).optimizer == LARS(momentum=0.6)
    rho = template(over([SAM(rho=over(0.1, 0.5)), (SAM(rho=over(0.1, 0.2)), EMA(half_life=0.9))]))
    assert list(rho.dimensions()) == ["eta_over_b", "remedy", "sam.sam.rho", "sam+ema.sam.rho"]


@pytest.mark.parametrize("field", ["model", "schedule"])
def test_other_parts_have_a_column_of_their_own(field):
    lists = {
        "model": over([MLP(hidden=over([(5,), (6,)])), f]),
        "schedule": over([Step(drop=over(0.1, 0.5)), Cosine()]),
    }
    labels = {"model": ("MLP", "f"), "schedule": ("Step", "Cosine")}[field]
    own = template(**{field: lists[field]})
    assert own.dimensions()[f"{field}.type"].values == labels
    (name,) = (name for name, domain in own.dimensions().items() if domain.only)
    given = {"model": (6,), "schedule": 0.25}[field]
    trial = own.resolved({"eta_over_b": 0.01, f"{field}.type": labels[0], name: given})
    assert trial.columns()[f"{field}.type"] == labels[0]
    assert trial.columns()[name] == {"model": "(6,)", "schedule": 0.25}[field]
    assert getattr(own.resolved({"eta_over_b": 0.01, f"{field}.type": labels[1]}), field) == lists[field].values[1]


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        ({"optimizer": over([SGD(momentum=0.5), Adam()])}, ("SGD", "Adam")),
        ({"optimizer": over([SGD(momentum=0.5), SGD(), Adam()])}, ("SGD(momentum=0.5)", "SGD()", "Adam()")),
        ({"optimizer": OPTIMIZER}, ("SGD", "Adam")),
        ({"schedule": over([Step(drop=0.5), Cosine()])}, ("Step(drop=0.5)", "Cosine()")),
        ({"model": over([MLP(hidden=(5,)), MLP(hidden=(6,)), f])}, ("MLP(hidden=(5,))", "MLP(hidden=(6,))", "f")),
        ({"batch_size": over([4, 8])}, (4, 8)),
    ],
)
def test_a_domain_is_described_by_what_its_column_holds(settings, values):
    own = template(**settings)
    (name,) = settings
    domain = own.dimensions()[name]
    assert in_rows(name, domain).as_json()["values"] == list(values)
    drawn = [own.resolved({"eta_over_b": 0.01, name: value}) for value in domain.values]
    assert [trial.columns()[name] for trial in drawn] == list(values)
    assert len({trial.configuration_id() for trial in drawn}) == len(values)


def test_ranges_are_described_as_they_are():
    assert in_rows("optimizer", over(0.1, 0.2)) == over(0.1, 0.2)


def test_ends_are_those_of_every_alternative():
    own = template(ONE_OF)
    found = list(ends(own.dimensions()))
    low, high = (own.dimensions()["eta_over_b"].low, own.dimensions()["eta_over_b"].high)
    expected = [
        *({"remedy": "sam", "eta_over_b": r, "sam.rho": rho} for r, rho in ((low, 0.1), (high, 0.1), (low, 0.5))),
        *(
            {"remedy": "ghost_batch_norm", "eta_over_b": r, "ghost_batch_norm.ghost_batch_size": size}
            for r, size in ((low, 4), (high, 4), (low, 8))
        ),
        *({"remedy": "none", "eta_over_b": r} for r in (low, high)),
    ]
    assert len(found) == len(expected) == 8
    assert all(each in found for each in expected)


def test_the_dearest_alternative_is_what_an_update_takes_at_most():
    assert template(ONE_OF).evaluations_per_update == 2
    assert template(over([GhostBatchNorm(ghost_batch_size=4), None])).evaluations_per_update == 1


def test_fields_of_alternatives_and_what_is_drawn_can_be_overridden():
    of = space(Arm("small", batch_size=4), Arm("large"), Arm("own", ONE_OF))
    changed = {d.name: d.template for d in checked_designs(of.overridden([("sam.rho", 0.3)]))}["own"]
    assert "sam.rho" not in changed.dimensions()
    assert changed.resolved({"eta_over_b": 0.01, "remedy": "sam"}).remedies == (SAM(rho=0.3),)
    drawn = {d.name: d.template for d in checked_designs(of.overridden([("own.remedy", "ghost_batch_norm")]))}["own"]
    assert list(drawn.dimensions()) == ["eta_over_b", "ghost_batch_norm.ghost_batch_size"]
    with pytest.raises(
        RequestError, match=r"remedy = 'smm' is none of sam, ghost_batch_norm, none; did you mean 'sam'"
    ):
        checked_designs(of.overridden([("own.remedy", "smm")]))


def test_the_middle_of_an_arm_and_a_smoke_run_have_what_is_drawn_alone():
    of = space(Arm("small", batch_size=4), Arm("large"), Arm("own", ONE_OF, WARMUP))
    design = next(design for design in checked_designs(of) if design.name == "own")
    trial, values = middle(design)
    assert values.keys() == {"eta_over_b", "remedy", "remedy2", "ghost_batch_norm.ghost_batch_size"}
    assert trial.remedies == (GhostBatchNorm(ghost_batch_size=8),)
    # a batch is cut to what the ghost sizes of a list divide as well
    sizes = over([GhostBatchNorm(ghost_batch_size=over([75, 150])), None])
    smoked = smoke(space(Arm("small", batch_size=4), Arm("large"), Arm("own", sizes), batch_size=450))
    assert smoked.batch_size == 150


@dataclass(frozen=True)
class Mine(Remedy):
    """A remedy of the user's, without an effect."""

    name: ClassVar[str] = "mine"
    share: float = setting(0.0, "of nothing", low=0.0)


def test_code_of_the_users_in_a_list_is_code_of_the_arm():
    lists = over([Mine(share=over(0.1, 0.2)), None]), over([MLP(hidden=over([(5,), (6,)])), f])
    of = space(Arm("small", batch_size=4), Arm("large"), Arm("own", lists[0]), Arm("other", model=lists[1]))
    code = code_of_arms(checked_designs(of))
    assert [name.partition(":")[2] for name in code["own"].keys() - code["large"].keys()] == ["Mine"]
    assert [name.partition(":")[2] for name in code["other"].keys() - code["large"].keys()] == ["f"]


def test_trials_without_lists_are_what_they_were():
    plain = template(SAM(rho=0.2))
    assert "drawn" not in {f.name for f in dataclasses.fields(plain) if getattr(plain, f.name) != f.default}
    assert template_of(space(), Arm("x")).remedy_lists == ()


@pytest.mark.parametrize(
    ("remedies", "settings", "said"),
    [
        ((over([SAM(rho=over(0.1, 0.5)), over([EMA(), None])]),), {}, "put all that it may be in the one list"),
        ((over([SAM(), 3]),), {}, "3 is not a remedy: a list holds remedies, tuples of remedies and None"),
        ((over([SAM(m=2), SAM(rho=over(0.1, 0.5))]),), {}, "sam is twice in the list"),
        ((over([SAM(rho=over(-0.1, 0.5)), None]),), {}, "sam.rho = -0.1 .. 0.5: must be at least 0"),
        ((SAM(rho=0.1), over([SAM(rho=over(0.1, 0.5)), None])), {}, "remedy sam is given twice"),
        ((over([EMA(half_life=0.9), None]), over([EMA(half_life=0.8), None])), {}, "remedy ema is given twice"),
        (
            (),
            {"optimizer": over([SGD(momentum=over(0.0, 0.9), groups=(Group("a", rate=over(0.1, 1.0)),)), Adam()])},
            "rate is searched inside a list",
        ),
    ],
)
def test_what_a_list_cannot_hold_is_said_in_one_line(remedies, settings, said):
    with pytest.raises(RequestError) as error:
        template(*remedies, **settings)
    assert any(said in line for line in error.value.problems), error.value.problems


def test_the_reference_has_no_list_of_remedies():
    with pytest.raises(
        RequestError, match="is the reference, which has no list of remedies: give the list an arm of its own"
    ):
        checked_designs(
            space(Arm("small", batch_size=4), Arm("large", over([GradientNoise(alpha=over(0.1, 0.2)), None])))
        )
