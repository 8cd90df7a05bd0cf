"""Optimisers, schedules, losses and starts as dimensions: a list of them in a space, from its check to the row."""

from __future__ import annotations

import itertools
import json
import math

import pytest

from tests.trainings import Blobs, history, named, training
from tune_lb.budgets import Epochs
from tune_lb.errors import RequestError
from tune_lb.losses import LabelSmoothedCrossEntropy, cross_entropy, squared_error
from tune_lb.models.initialization import Initialization
from tune_lb.models.mlp import MLP
from tune_lb.optimizers.elementwise import SGD, AdaGrad, Adam, AdamW, RMSprop
from tune_lb.optimizers.lamb import LAMB
from tune_lb.optimizers.lars import LARS
from tune_lb.results.columns import members_schema
from tune_lb.samplers.coding import coded, decoded
from tune_lb.schedules import Constant, Cosine, Cyclical, Linear, Step, Trapezoid
from tune_lb.search.proposers import proposers
from tune_lb.settings.domain import over
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.space.space import Space
from tune_lb.training.data_checks import check_against_data
from tune_lb.tuning.run_context import field_columns

CHOICES = {
    "optimizer": [SGD(), Adam(), AdamW(), AdaGrad(), RMSprop(), LARS(weight_decay=1e-4), LAMB()],
    "schedule": [Constant(), Cosine(), Linear(), Step(), Trapezoid(rise=0.1), Cyclical(period_epochs=1.0)],
    "loss": [cross_entropy, squared_error, LabelSmoothedCrossEntropy(0.2)],
    "initialization": [None, Initialization(), Initialization("he_normal", 0.5)],
}


def space(**settings):
    chosen = {
        "question": "Which?",
        "data": Blobs(),
        "model": MLP(hidden=(6,)),
        "batch_size": 8,
        "lr": over(0.01, 0.1, log=True),
        "arms": (Arm("small", batch_size=4), Arm("large")),
        "baseline": "small",
        "reference": "large",
        "num_samples": 7,
    }
    return Space(**(chosen | settings))


def template(name, **settings):
    return {design.name: design.template for design in checked_designs(space(**settings))}[name]


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in CHOICES.items() for v in values], ids=named)
def test_each_trains_and_fills_columns_that_the_table_has(field, value):
    searched = space(**{field: over(CHOICES[field])})
    designs = checked_designs(searched)
    of = designs[0].template.resolved({field: value, "lr": 0.02})
    assert of.dimensions() == {}
    assert of.problems() == check_against_data(of, of.data.load(0)) == []
    assert all(math.isfinite(row.value) for row in history(training(of)))
    names = set(members_schema(field_columns(designs)).names)
    row = of.columns()
    assert set(row) <= names
    name = "None" if value is None else getattr(value, "__name__", type(value).__name__)
    assert str(row[field]).partition("(")[0] == name


def test_all_of_them_at_once_are_a_grid_of_distinct_trials():
    searched = space(**{field: over(values) for field, values in CHOICES.items()}, lr=over([0.1, 0.2]), sampler="grid")
    design = checked_designs(searched)[0]
    assert design.dimensions.keys() == {*CHOICES, "lr"}
    assert design.num_samples == 7 * 6 * 3 * 3 * 2
    sampler = proposers(searched, checked_designs(searched))[design.name]
    trials = [design.template.resolved(sampler.propose(index, [])) for index in range(design.num_samples)]
    assert len({of.trial_id("data") for of in trials}) == design.num_samples
    found = {(of.optimizer, of.schedule, of.loss, of.initialization, of.lr) for of in trials}
    assert found == set(itertools.product(*CHOICES.values(), [0.1, 0.2]))


@pytest.mark.parametrize("sampler", ["sobol", "random", "tpe"])
def test_samplers_propose_every_one_and_remember_it_as_a_number(sampler):
    searched = space(optimizer=over(CHOICES["optimizer"]), sampler=sampler)
    design = checked_designs(searched)[0]
    propose = proposers(searched, checked_designs(searched))[design.name].propose
    proposals = [propose(index, []) for index in range(64)]
    assert {values["optimizer"] for values in proposals} == set(CHOICES["optimizer"])
    numbers = json.loads(json.dumps([coded(design.dimensions, values) for values in proposals]))
    assert [decoded(design.dimensions, entry) for entry in numbers] == proposals


def test_fields_of_parts_are_dimensions_too():
    searched = {
        "optimizer": LARS(**LARS.suggested()),
        "schedule": Cyclical(**Cyclical.suggested()),
        "loss": LabelSmoothedCrossEntropy(**LabelSmoothedCrossEntropy.suggested()),
        "initialization": Initialization(**Initialization.suggested()),
    }
    found = template("large", **searched).dimensions()
    assert found.keys() == {
        *("lr", "weight_decay", "trust_coefficient", "period_epochs", "lowest"),
        *("loss.smoothing", "initialization.kind", "initialization.scale"),
    }
    first = template("large", **searched).resolved({name: domain.to_check()[0] for name, domain in found.items()})
    assert first.problems() == []
    assert first.columns()["trust_coefficient"] == first.optimizer.trust_coefficient


def test_an_arm_has_its_own_and_a_change_from_outside_reaches_it():
    arms = (Arm("small", batch_size=4), Arm("large"), Arm("layered", optimizer=LARS(), schedule=Step()))
    changed = space(arms=arms).overridden([("trust_coefficient", 0.01), ("drop", 0.5)])
    found = {design.name: design.template for design in checked_designs(changed)}
    assert (found["layered"].optimizer, found["layered"].schedule) == (LARS(trust_coefficient=0.01), Step(drop=0.5))
    assert (found["large"].optimizer, found["large"].schedule) == (SGD(), Cosine())


def test_the_domain_is_plain_json_and_readable():
    domains = {field: over(values) for field, values in CHOICES.items()}
    described = {field: json.loads(json.dumps(domain.as_json()))["values"] for field, domain in domains.items()}
    assert described["loss"] == ["cross_entropy", "squared_error", "LabelSmoothedCrossEntropy(smoothing=0.2)"]
    assert described["initialization"][0] is None
    assert described["optimizer"][0] == str(SGD())
    assert str(over([cross_entropy, squared_error])) == "{cross_entropy, squared_error}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer": over([SGD(), "adam"])}, "must be of type OptimizerSettings, not 'adam'"),
        ({"optimizer": over([SGD(), SGD(momentum=1.5)])}, "optimizer.momentum = 1.5: must be below 1"),
        ({"budget": over([Epochs(4), Epochs(over(2.0, 8.0))])}, "Epochs.epochs is searched inside a list"),
        (
            {"schedule": over([Cosine(), Cyclical(period_epochs=-1.0)])},
            "schedule.period_epochs = -1.0: must be above 0",
        ),
        ({"schedule": over([Cosine(), Cosine()])}, "a value is listed twice"),
        ({"loss": over([cross_entropy, lambda o, t: o])}, "cannot be told from another"),
        ({"loss": over([cross_entropy, "mse"])}, "must be"),
        ({"initialization": over([None, Initialization("he")])}, "initialization.kind = he: must be one of"),
    ],
)
def test_what_is_wrong_in_a_list_is_said_when_the_space_is_checked(settings, words):
    with pytest.raises(RequestError) as error:
        checked_designs(space(**settings))
    assert [line for line in error.value.problems if words in line]
    assert not [line for line in error.value.problems if line.startswith("arm")]
