"""The trial: its identity, its fields by column name, and what is wrong with it."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.trainings import Blobs, trial
from tune_lb.budgets import Epochs, Updates
from tune_lb.models.mlp import MLP
from tune_lb.optimizers.elementwise import SGD, Adam
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.warmup import Warmup
from tune_lb.schedules import Constant
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.remedy import Remedy


def other_loss(outputs, targets):
    return F.cross_entropy(outputs, targets, reduction="none")


CHANGES = [
    {"arm": "other"},
    {"data": Blobs(num_train=48)},
    {"model": MLP(hidden=(7,))},
    {"model": MLP(hidden=(6,), batch_norm=False)},
    {"optimizer": SGD(momentum=0.8, weight_decay=1e-3)},
    {"optimizer": SGD(momentum=0.9, weight_decay=1e-3, nesterov=True)},
    {"optimizer": Adam(weight_decay=1e-3)},
    {"schedule": Constant()},
    {"budget": Epochs(3.0)},
    {"budget": Updates(2)},
    {"loss": other_loss},
    {"batch_size": 4},
    {"lr": 0.1000001},
    {"lr": None, "eta_over_b": 0.0125},
    {"split_seed": 1},
    {"draws": "placebo"},
    {"remedies": (SAM(rho=0.1),)},
    {"remedies": (SAM(rho=0.1, m=4),)},
    {"remedies": (SAM(rho=0.2),)},
]


def test_the_id_changes_with_every_field_and_with_the_data():
    ids = [
        trial().trial_id("a"),
        trial().trial_id("b"),
        *(replace(trial(), **change).trial_id("a") for change in CHANGES),
    ]
    assert len(set(ids)) == len(ids)
    assert all(len(found) == 16 and set(found) <= set("0123456789abcdef") for found in ids)


def test_the_id_does_not_change_with_what_means_the_same():
    same = replace(trial(), budget=Epochs(2), data=Blobs(num_train=24))
    assert same.trial_id("a") == trial().trial_id("a")
    assert trial(SAM(rho=1), GradientNoise(alpha=1e-3)).trial_id("a") == trial(
        GradientNoise(alpha=0.001), SAM(rho=1.0)
    ).trial_id("a")


@pytest.mark.slow
def test_the_id_is_the_same_in_every_process():
    code = "from tests.trainings import ALL, trial; print(trial(*ALL).trial_id('a'))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    from tests.trainings import ALL

    assert found.strip() == trial(*ALL).trial_id("a")


def test_what_has_no_name_has_no_id():
    with pytest.raises(TypeError, match="cannot be told from another"):
        trial(model=object()).trial_id("a")


def test_is_a_value():
    of = trial(SAM(rho=0.1), Warmup(epochs=1.0))
    copy = pickle.loads(pickle.dumps(of))
    assert copy == of
    assert hash(copy) == hash(of)
    assert copy.trial_id("a") == of.trial_id("a")


def test_the_rate_may_be_given_per_example():
    assert trial().learning_rate == 0.1
    assert trial(lr=None, eta_over_b=0.01, batch_size=12).learning_rate == pytest.approx(0.12)
    row = trial(lr=0.2, batch_size=4).columns()
    assert (row["lr"], row["eta_over_b"]) == (0.2, 0.05)


def test_searched_fields_by_column_name_and_their_values_in_place():
    of = trial(
        SAM(rho=over(0.1, 0.5)),
        GhostBatchNorm(ghost_batch_size=over([2, 4])),
        optimizer=SGD(momentum=over(0.5, 0.9)),
        budget=Epochs(over(1.0, 3.0)),
        model=MLP(hidden=over([(6,), (8, 8)])),
        lr=over(0.01, 1.0, log=True),
    )
    names = {"lr", "momentum", "epochs", "model.hidden", "sam.rho", "ghost_batch_norm.ghost_batch_size"}
    assert of.dimensions().keys() == names
    assert of.problems() == []
    values = {"lr": 0.5, "momentum": 0.6, "epochs": 2.0, "model.hidden": (8, 8), "sam.rho": 0.2}
    found = of.resolved(values | {"ghost_batch_norm.ghost_batch_size": 4})
    assert found.dimensions() == {}
    assert (found.lr, found.optimizer, found.budget) == (0.5, SGD(momentum=0.6), Epochs(2.0))
    assert found.model == MLP(hidden=(8, 8))
    assert set(found.remedies) == {SAM(rho=0.2), GhostBatchNorm(ghost_batch_size=4)}
    with pytest.raises(KeyError, match=r"sam\.rh"):
        of.resolved({"sam.rh": 1.0})


def test_the_row_has_every_remedy_field_and_names_the_active_ones():
    row = trial(SAM(rho=0.1), Warmup(), GradientNoise(alpha=0.1, gamma=1.0)).columns()
    expected = {
        "remedies": "sam,gradient_noise",
        "sam.rho": 0.1,
        "sam.m": None,
        "warmup.epochs": 0.0,
        "gradient_noise.alpha": 0.1,
        "gradient_noise.gamma": 1.0,
        "optimizer": "SGD",
        "momentum": 0.9,
        "weight_decay": 1e-3,
        "model": "MLP(hidden=(6,))",
        "data": "Blobs()",
        "schedule": "Cosine()",
        "budget": "Epochs(epochs=2.0)",
        "loss": "cross_entropy",
        "batch_size": 8,
    }
    assert {name: row[name] for name in expected} == expected


@dataclass(frozen=True)
class OfMine(Remedy):
    """A remedy that is called like a part of a trial."""

    name: ClassVar[str] = "model"
    c: float = setting(0.0, "a number", low=0.0)


@dataclass(frozen=True)
class Beside(Remedy):
    """Another one in the same file, which says what it does not go with."""

    name: ClassVar[str] = "beside"
    excludes: ClassVar[Mapping[str, str]] = {"sam": "both shorten the step"}
    c: float = setting(0.0, "a number", low=0.0)


def test_remedies_of_one_file_have_columns_of_their_own():
    columns = trial(Beside(c=0.5), NamedLikeNothing(c=0.25)).columns()
    assert (columns["beside.c"], columns["like_nothing.c"], columns["remedies"]) == (0.5, 0.25, "beside,like_nothing")


@dataclass(frozen=True)
class NamedLikeNothing(Remedy):
    """A third one."""

    name: ClassVar[str] = "like_nothing"
    c: float = setting(0.0, "a number", low=0.0)


def test_a_remedy_without_a_name_is_refused_where_it_is_made():
    with pytest.raises(TypeError, match=r'remedy Nameless needs a name.*add name: ClassVar.str. = "nameless"'):
        type("Nameless", (Remedy,), {})()


def test_a_remedy_class_travels_by_value():
    """As the modules beside a space do, which other processes cannot import."""
    ray_pickle = pytest.importorskip("ray.cloudpickle")
    made = dataclass(frozen=True)(type("Traveller", (Remedy,), {"name": "traveller", "__module__": "__main__"}))
    assert ray_pickle.loads(ray_pickle.dumps(made)).name == "traveller"
    assert pickle.loads(ray_pickle.dumps(made())).name == "traveller"


@pytest.mark.parametrize(
    ("settings", "remedies", "words"),
    [
        ({"eta_over_b": 0.1}, [], "lr and eta_over_b are both given"),
        ({"lr": None}, [], "neither lr nor eta_over_b"),
        ({"lr": 0.0}, [], "lr = 0.0: must be above 0"),
        ({"batch_size": 0}, [], "batch_size = 0: must be at least 1"),
        ({"batch_size": 2.5}, [], "batch_size = 2.5: must be a whole number"),
        ({"optimizer": SGD(momentum=1.0)}, [], "optimizer.momentum = 1.0: must be below 1"),
        ({"optimizer": SGD(momentum=0.0, nesterov=True)}, [], "needs a momentum above 0"),
        ({"optimizer": "sgd"}, [], "optimizer = sgd: must be of type OptimizerSettings"),
        ({"budget": Epochs(0.0)}, [], "budget.epochs = 0.0: must be above 0"),
        ({"model": MLP(hidden=(6, 0))}, [], "every layer needs at least one unit"),
        ({"model": MLP(hidden=6)}, [], "model.hidden = 6: must be of type tuple"),
        ({"data": Blobs(num_train=0)}, [], "data.num_train = 0: must be at least 1"),
        ({}, [SAM(rho=-0.1)], "sam.rho = -0.1: must be at least 0"),
        ({}, [SAM(rho=0.1), SAM(rho=0.2)], "remedy sam is given twice"),
        ({}, [OfMine(c=0.5)], "OfMine: its name, 'model', is that of a part of every trial; take another"),
        ({}, [Beside(c=0.5), SAM(rho=0.1)], "beside and sam both shorten the step; give one of them"),
    ],
)
def test_one_mistake_one_line(settings, remedies, words):
    lines = trial(*remedies, **settings).problems()
    assert any(words in line and line.startswith("arm 'arm'") for line in lines)
    assert len(lines) == 1 or len(remedies) == 2


class Frozen(nn.Linear):
    """A network with nothing to train."""

    def __init__(self, input_shape, num_classes):
        super().__init__(*input_shape, num_classes)
        self.requires_grad_(False)


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (trial(batch_size=25), ["batch_size = 25", "24 examples"]),
        (trial(GhostBatchNorm(ghost_batch_size=3)), ["ghost_batch_size = 3", "divisors: 1, 2, 4, 8"]),
        (trial(SAM(rho=0.1, m=5)), ["sam.m = 5"]),
        (trial(Warmup(epochs=2.0)), ["warmup.epochs = 2"]),
        (trial(model=Frozen), ["no trainable parameter"]),
        (trial(GhostBatchNorm(), batch_size=24), []),
    ],
)
def test_what_only_the_data_can_tell(of, words):
    before = torch.get_rng_state()
    lines = check_against_data(of, of.data.load(0))
    assert torch.equal(before, torch.get_rng_state())
    assert len(lines) == bool(words)
    assert all(word in lines[0] for word in words)


def test_a_fingerprint_is_that_of_everything_seen():
    data = Blobs().load(0)
    same = Blobs().load(0)
    assert data.fingerprint() == same.fingerprint() != Blobs().load(1).fingerprint()
    for part in ("train", "validation", "test"):
        changed = Blobs().load(0)
        getattr(changed, part).inputs[3, 2] += 1
        assert changed.fingerprint() != data.fingerprint()
        changed = Blobs().load(0)
        getattr(changed, part).targets[3] = 2 - getattr(changed, part).targets[3] or 1
        assert changed.fingerprint() != data.fingerprint()
    assert replace(data, offset=0.2).fingerprint() != data.fingerprint()
    assert len(bytes.fromhex(data.fingerprint())) == hashlib.sha256().digest_size // 4
