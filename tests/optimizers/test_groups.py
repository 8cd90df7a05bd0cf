"""Groups of parameters: each one's own rate is scaled, by names or shapes, alone, together, compiled and resumed (A14)."""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.training.ordinary import stream
from tests.trainings import flat, history, parts_of, same_up_to_rounding, training, trajectory, trial
from tune_lb.budgets import Epochs
from tune_lb.optimizers.building import NotSeparable, built
from tune_lb.optimizers.elementwise import SGD, AdaGrad, Adam, AdamW
from tune_lb.optimizers.groups import Group
from tune_lb.optimizers.lamb import LAMB
from tune_lb.optimizers.lars import LARS
from tune_lb.optimizers.muon import Muon
from tune_lb.optimizers.settings import OptimizerSettings
from tune_lb.schedules import Constant, Cosine
from tune_lb.settings.domain import over
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.phase import Phase

RATE = 0.1


class Net(nn.Module):
    """A body and a head, which have names."""

    def __init__(self, num_features, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(num_features, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh())
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.body(x))


def net(shape, num_classes):
    return Net(shape[0], num_classes)


def body_and_head(named):
    return [p for name, p in named if name.startswith("body")], [p for name, p in named if name.startswith("head")]


@dataclass(frozen=True)
class FrozenBody(OptimizerSettings):
    """As users write it: by names, a rate of 0 for some."""

    def build(self, tensors, lr, *, members_first=False, names=()):
        body, head = body_and_head(list(zip(names, tensors, strict=True)))
        return torch.optim.SGD([{"params": body, "lr": 0.0}, {"params": head}], lr=lr, momentum=0.9)


@dataclass(frozen=True)
class FixedBody(OptimizerSettings):
    """A rate for some that does not depend on lr, and options of their own."""

    def build(self, tensors, lr, names):
        body, head = body_and_head(list(zip(names, tensors, strict=True)))
        return torch.optim.AdamW([{"params": body, "lr": 3e-3, "betas": (0.5, 0.9)}, {"params": head}], lr=lr)


@dataclass(frozen=True)
class NoDecayByShape(OptimizerSettings):
    """The usual rule, which must not see the dimension of members."""

    def build(self, tensors, lr, *, members_first=False):
        tensors = list(tensors)
        decayed, others = [p for p in tensors if p.ndim > 1], [p for p in tensors if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 0.5}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.SGD(groups, lr=lr)


@dataclass(frozen=True)
class Averaging(OptimizerSettings):
    """State that begins as ones, not zeros (torch.optim.NAdam's product)."""

    def build(self, tensors, lr):
        return torch.optim.NAdam([{"params": list(tensors)}], lr=lr, foreach=False)


def no_decay(params, lr):
    decayed, others = [p for p in params.values() if p.ndim > 1], [p for p in params.values() if p.ndim <= 1]
    return torch.optim.SGD([{"params": decayed, "weight_decay": 0.5}, {"params": others}], lr=lr)


def of_head(params, **options):
    body, head = body_and_head(params.items())
    return [{"params": body} | options, {"params": head}]


CASES = {
    "rate 0 by names": (FrozenBody(), lambda p, lr: torch.optim.SGD(of_head(p, lr=0.0), lr=lr, momentum=0.9)),
    "rate 0 by a group": (
        SGD(momentum=0.9, groups=(Group("^body", rate=0.0),)),
        lambda p, lr: torch.optim.SGD(of_head(p, lr=0.0), lr=lr, momentum=0.9),
    ),
    "a rate of its own": (FixedBody(), lambda p, lr: torch.optim.AdamW(of_head(p, lr=3e-3, betas=(0.5, 0.9)), lr=lr)),
    "no decay by shape": (NoDecayByShape(), no_decay),
    "no decay by a group": (
        SGD(momentum=0.0, weight_decay=0.5, groups=(Group(vectors=True, weight_decay=0.0),)),
        no_decay,
    ),
    "half the rate": (
        Adam(groups=(Group("body", rate=0.5, beta1=0.5),)),
        lambda p, lr: torch.optim.Adam(of_head(p, lr=0.5 * lr, betas=(0.5, 0.999)), lr=lr),
    ),
    "state of its own": (
        AdaGrad(groups=(Group("body", rate=0.5),)),
        lambda p, lr: torch.optim.Adagrad(of_head(p, lr=0.5 * lr), lr=lr),
    ),
    "state that begins as ones": (Averaging(), lambda p, lr: torch.optim.NAdam(list(p.values()), lr=lr)),
}


def of_case(name, **changes):
    return trial(**{"model": net, "optimizer": CASES[name][0], "lr": RATE, "budget": Epochs(4.0)} | changes)


def by_a_plain_loop(of, make, seed):
    """Train as anybody would, with torch's own scheduler over its groups; return the end by name."""
    parts = parts_of(of)
    module = net(parts.input_shape, parts.num_classes).double()
    start = training(of, (seed,)).iterates()[seed]
    module.load_state_dict(start[0] | start[1])
    optimizer = make(dict(module.named_parameters()), of.lr)
    num_updates = of.plan(len(parts.train.targets)).num_updates
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (1 + torch.cos(torch.tensor(torch.pi * step / num_updates, dtype=torch.float64)).item()) / 2,
    )
    inputs = (parts.train.inputs.float() - 0.1) / 1.5
    for index in stream(of, seed, num_updates * of.batch_size).split(of.batch_size):
        optimizer.zero_grad()
        F.cross_entropy(module(inputs[index].double()), parts.train.targets[index]).backward()
        optimizer.step()
        scheduler.step()
    return {name: p.detach() for name, p in module.named_parameters()}


def ends(of, seeds, execution="alone"):
    running = training(of, seeds, execution)
    history(running)
    return {member.seed: member.params for member in running.trained()}


@pytest.mark.parametrize("execution", ["alone", "together"])
@pytest.mark.parametrize("name", CASES)
def test_a_training_with_groups_is_the_plain_loop(name, execution):
    of = of_case(name, schedule=Cosine())
    found = ends(of, (3, 0), execution)
    for seed in (3, 0):
        expected = by_a_plain_loop(of, CASES[name][1], seed)
        for key, value in found[seed].items():
            torch.testing.assert_close(value, expected[key], rtol=1e-9, atol=1e-11)


def test_a_body_of_rate_0_stays_where_it_is_and_trains_otherwise():
    """A14: body with rate 0 is told from one that trains."""
    start = training(of_case("rate 0 by names"), (3,)).iterates()[3][0]
    frozen, whole = (
        ends(of, (3,))[3] for of in (of_case("rate 0 by names"), trial(model=net, lr=RATE, budget=Epochs(4.0)))
    )
    for name, value in start.items():
        assert torch.equal(frozen[name], value) == name.startswith("body")
        assert not torch.equal(whole[name], value)


@pytest.mark.parametrize("name", CASES)
def test_it_goes_on_from_a_snapshot_as_if_nothing_had_been(name):
    of = of_case(name)
    # as in a search: torch restores state in the parameters' precision
    running, resumed = (training(of, (3,), dtype=torch.float32) for _ in range(2))
    running.advance(1.0)
    resumed.restore(copy.deepcopy(running.checkpoint()))
    for each in (running, resumed):
        history(each)
    one, other = (flat(next(iter(each.trained())).params) for each in (running, resumed))
    assert torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.skipif(not (shutil.which("c++") or shutil.which("g++")), reason="no C++ compiler")
def test_compiled_it_is_the_same_and_one_program_serves_other_rates(name):
    for lr in (RATE, 0.3):
        of = of_case(name, lr=lr)
        alone, compiled = ends(of, (3, 0)), ends(of, (3, 0), "compiled_together")
        for seed, params in alone.items():
            # torch counts Adam's steps in float32, and a program keeps to it
            torch.testing.assert_close(compiled[seed], params, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [LARS, LAMB, Muon, AdamW])
def test_layerwise_optimisers_have_groups_too(make):
    """A group that is as the others changes nothing; together is alone."""
    same, other = make(groups=(Group("body"),)), make(groups=(Group("head", rate=0.0),))
    plain, grouped = (ends(trial(model=net, optimizer=o, lr=RATE), (3,))[3] for o in (make(), same))
    for name in plain:
        torch.testing.assert_close(plain[name], grouped[name], rtol=1e-12, atol=1e-13)
    of = trial(model=net, optimizer=other, lr=RATE)
    assert same_up_to_rounding(trajectory(of, (3, 0)), trajectory(of, (3, 0), "together"))
    assert torch.equal(ends(of, (3,))[3]["head.weight"], training(of, (3,)).iterates()[3][0]["head.weight"])


def test_fields_of_a_group_are_searched():
    of = trial(
        model=net,
        optimizer=SGD(
            weight_decay=over(1e-4, 1e-1, log=True),
            groups=(Group(vectors=True, weight_decay=over([0.0, 0.1])), Group("head", rate=over(0.1, 10.0))),
        ),
    )
    assert of.problems() == []
    assert list(of.dimensions()) == ["weight_decay", "group1.weight_decay", "group2.rate"]
    one = of.resolved({"weight_decay": 0.01, "group1.weight_decay": 0.1, "group2.rate": 2.0})
    assert one.optimizer == SGD(
        weight_decay=0.01, groups=(Group(vectors=True, weight_decay=0.1), Group("head", rate=2.0))
    )
    assert (one.columns()["group1.weight_decay"], one.columns()["group2.rate"]) == (0.1, 2.0)
    assert "groups" not in one.columns()
    assert one.trial_id("d") != of.resolved(
        {"weight_decay": 0.01, "group1.weight_decay": 0.0, "group2.rate": 2.0}
    ).trial_id("d")


@dataclass(frozen=True)
class Wrong(OptimizerSettings):
    """What is refused, by kind."""

    kind: str = ""

    def build(self, tensors, lr):
        tensors = list(tensors)
        kinds = {
            "closure": lambda: torch.optim.LBFGS(tensors, lr=lr),
            "sparse": lambda: torch.optim.SparseAdam(tensors, lr=lr),
            "fixed": lambda: torch.optim.SGD(tensors, lr=0.3),
            "raises": lambda: torch.optim.SGD(tensors, lr=lr, momentun=0.9),
            "none": lambda: None,
            "others": lambda: torch.optim.SGD([t.clone() for t in tensors], lr=lr),
            "twice": lambda: torch.optim.SGD([{"params": tensors}, {"params": tensors[:1]}], lr=lr),
        }
        return kinds[self.kind]()


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (Wrong(kind="closure"), "LBFGS needs a closure"),
        (Wrong(kind="sparse"), "SparseAdam"),
        (Wrong(kind="fixed"), "its rate is 0.3 whatever lr is"),
        (Wrong(kind="raises"), r"build raises TypeError: .*momentun.*test_groups.py:\d+"),
        (Wrong(kind="none"), "build returns NoneType, not a torch.optim.Optimizer"),
        (Wrong(kind="others"), "tensors that are not the ones it was called with"),
        (Wrong(kind="twice"), "build raises ValueError: some parameters appear in more than one"),
        (SGD(groups=(Group("nrom", weight_decay=0.0),)), "takes no parameter that is left for it .*body.0.weight"),
    ],
)
def test_what_an_optimiser_cannot_do_is_said_before_training(optimizer, words):
    of = trial(model=net, optimizer=optimizer)
    (found,) = check_against_data(of, of.data.load(0))
    with pytest.raises(ValueError, match=words):
        raise ValueError(found)


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (LAMB(groups=(Group("body", momentum=0.5),)), "gives momentum, which LAMB does not have"),
        (SGD(groups=(Group("(", rate=0.5),)), "no regular expression"),
        (SGD(groups=(Group("a", rate=-1.0),)), "rate = -1.0: must be at least 0"),
        (SGD(groups=(Group(over(["a", "b"])),)), "cannot be searched"),
        (SGD(groups=("bias",)), "'bias' is not a Group"),
        (over([SGD(groups=(Group("a", rate=over(0.1, 1.0)),)), SGD()]), "searched inside a list"),
    ],
)
def test_what_is_wrong_with_groups_is_said(optimizer, words):
    assert any(words in line for line in trial(optimizer=optimizer).problems())


def test_what_is_searched_in_the_groups_of_a_phase_is_refused():
    phase = Phase(epochs=1.0, optimizer=SGD(groups=(Group("a", rate=over(0.1, 1.0)),)))
    assert any("Group.rate is searched" in line for line in trial(phases=(phase,)).problems())


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 3, dtype=torch.complex64))

    def forward(self, x):
        return (x.to(self.weight.dtype) @ self.weight).abs()


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 3, sparse=True)

    def forward(self, x):
        return self.table(x.abs().long().clamp(max=9)).sum(1)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda *_: Complex(), "parameter weight is complex"),
        (lambda *_: Tokens(), "layer table is Embedding(sparse=True)"),
    ],
)
def test_gradients_that_are_not_real_and_dense_are_refused(model, words):
    of = trial(model=model)
    assert any(words in line for line in check_against_data(of, of.data.load(0)))


class NormedSGD(torch.optim.SGD):
    """Divides the gradient of every tensor by its length: not entry by entry."""

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad /= p.grad.norm()
        return super().step(closure)


@dataclass(frozen=True)
class Normed(OptimizerSettings):
    def build(self, tensors, lr, *, members_first=False):
        return NormedSGD(tensors, lr=lr)


def test_an_optimiser_that_looks_at_whole_tensors_is_not_stacked():
    params = {"w": torch.ones(2, 3, 4)}
    with pytest.raises(NotSeparable, match="optimizer Normed looks at whole tensors"):
        built(Normed(), params, 0.1, members_first=True)
    built(Normed(), {"w": torch.ones(1, 3, 4)}, 0.1, members_first=True)
    with pytest.raises(NotSeparable):
        training(trial(optimizer=Normed()), (0, 1), "together")


def test_a_constant_rate_reaches_every_group_at_its_share():
    of = of_case("a rate of its own", schedule=Constant(), lr=0.5)
    optimizer = training(of, (0,)).groups[0].optimizer
    assert [group.get("share", 1.0) for group in optimizer.param_groups] == pytest.approx([3e-3 / 0.5, 1.0])
