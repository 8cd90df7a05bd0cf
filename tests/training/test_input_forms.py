"""B2 and trees: tokens stay whole, inputs may be a tuple or dict, outputs may be picked; each against an ordinary PyTorch loop."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tune_lb.budgets import Epochs
from tune_lb.data.dataset import DataSet, DataSource, Part
from tune_lb.data.device import on_device
from tune_lb.errors import RequestError
from tune_lb.losses import cross_entropy
from tune_lb.metrics import LambdaMax
from tune_lb.observation.outcome import outcomes
from tune_lb.observation.surfaces import surface_over
from tune_lb.optimizers import SGD
from tune_lb.remedies import SAM, Augmentation, GradientNoise, Mixup
from tune_lb.schedules import Constant
from tune_lb.surface.network_forms import adapted
from tune_lb.training.data_checks import check_against_data, fitting_network
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial
from tune_lb.trees import cast, mapped

N, CLASSES, WORDS, LENGTH = 48, 3, 11, 5
RNG = np.random.default_rng(0)
TARGETS = np.arange(N) % CLASSES
TOKENS = ((RNG.integers(0, 4, (N, LENGTH)) + 3 * TARGETS[:, None]) % WORDS).astype(np.int64)
FEATURES = (np.eye(CLASSES, 4)[TARGETS] * 2 + RNG.normal(size=(N, 4))).astype(np.float32)
MASK = RNG.random((N, LENGTH)) < 0.7
MASK[:, 0] = True


@dataclass(frozen=True)
class Data(DataSource):
    """The three parts are the same examples; `form` is how they are stored."""

    form: str = "tokens"

    def load(self, split_seed: int) -> DataSet:
        inputs: Any = {
            "tokens": TOKENS,
            "int32": TOKENS.astype(np.int32),
            "int16": TOKENS.astype(np.int16),
            "pixels": (FEATURES * 20 + 100).clip(0, 255).astype(np.uint8),
            "tuple": (TOKENS, FEATURES),
            "dict": {"ids": TOKENS, "mask": MASK, "x": FEATURES},
        }[self.form]
        return DataSet("data", CLASSES, *[Part(inputs, TARGETS)] * 3)


class Bag(nn.Module):
    """The mean of embeddings, of those that a mask keeps, beside features."""

    def __init__(self, form: str, returns: str = "tensor") -> None:
        super().__init__()
        self.form, self.returns = form, returns
        self.embedding = nn.Embedding(WORDS, 6)
        self.norm = nn.BatchNorm1d(6)
        self.last = nn.Linear(6 + (4 if form in ("tuple", "dict") else 0), CLASSES)

    def forward(self, ids: Tensor, x: Tensor | None = None, mask: Tensor | None = None) -> Any:
        rows = self.embedding(ids)
        keep = torch.ones_like(ids, dtype=rows.dtype) if mask is None else mask.to(rows.dtype)
        assert mask is None or mask.dtype == torch.bool
        mean = self.norm((rows * keep[..., None]).sum(1) / keep.sum(1, keepdim=True))
        outputs = self.last(mean if x is None else torch.cat([mean, x], 1))
        return {
            "tensor": outputs,
            "dict": {"logits": outputs, "other": 1},
            "named": Named(outputs, 1),
            "tuple": (1, outputs),
        }[self.returns]


class Named(NamedTuple):
    logits: Tensor
    other: int


@dataclass(frozen=True)
class Model:
    form: str
    returns: str = "tensor"

    def __call__(self, input_shape: Any, num_classes: int) -> nn.Module:
        return Bag(self.form, self.returns)


def second(returned: Any) -> Tensor:
    return returned[1]


def trial(form: str, *remedies: Any, returns: str = "tensor", **settings: Any) -> Trial:
    own = {"batch_size": 16, "lr": 0.1, "remedies": remedies} | settings
    return Trial("a", Data(form), Model(form, returns), SGD(), Constant(), Epochs(3.0), cross_entropy, **own)


def trained(of: Trial, execution: str = "alone", seeds: tuple[int, ...] = (0, 1)) -> Training:
    training = Training(of, seeds, on_device(of.data.load(0), "cpu"), execution=execution)
    while not training.done:
        training.advance()
    return training


def by_hand(of: Trial, form: str) -> nn.Module:
    """Return the network of seed 0 as an ordinary loop trains it, on the same batches."""
    training = Training(of, [0], on_device(of.data.load(0), "cpu"))
    module = Bag(form)
    params, buffers = training.networks.start(0)
    module.load_state_dict({**params, **buffers})
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=of.optimizer.effective_momentum())
    for step in range(training.plan.num_updates):
        batch = training.batches.batch(0, step)
        optimizer.zero_grad()
        inputs = batch.inputs
        outputs = (
            module(**inputs)
            if isinstance(inputs, dict)
            else module(*inputs)
            if isinstance(inputs, tuple)
            else module(inputs)
        )
        F.cross_entropy(outputs, batch.targets).backward()
        optimizer.step()
    return module


@pytest.mark.parametrize("form", ["tokens", "tuple", "dict"])
def test_trained_as_by_an_ordinary_loop(form):
    of = trial(form)
    module = by_hand(of, form)
    for execution in ("alone", "together"):
        member = next(iter(trained(of, execution).trained()))
        for name, value in module.named_parameters():
            torch.testing.assert_close(member.params[name], value.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("form", "dtype"), [("tokens", torch.int64), ("int32", torch.int32), ("int16", torch.int64)])
def test_whole_numbers_stay_whole(form, dtype):
    parts = on_device(Data(form).load(0), "cpu")
    assert parts.train.standardized(slice(0, 2)).dtype == dtype
    training = Training(trial(form), [0], parts)
    assert training.batches.batch(0, 0).inputs.dtype == dtype


def test_pixels_and_numbers_with_an_offset_become_real():
    parts = on_device(Data("pixels").load(0), "cpu")
    assert parts.train.standardized(slice(0, 2)).dtype == torch.float32
    shifted = replace(Data("tokens").load(0), offset=1.0)
    assert on_device(shifted, "cpu").train.standardized(slice(0, 2)).dtype == torch.float32


@pytest.mark.parametrize("form", ["tokens", "tuple", "dict"])
def test_outcome_metrics_and_surfaces_take_the_form(form):
    of = trial(form, GradientNoise(alpha=1e-3), SAM(rho=0.05, m=4))
    assert check_against_data(of, of.data.load(0)) == []
    training = trained(of)
    row = outcomes(training, metrics=(LambdaMax(),), wall_s=0.0)[0].row
    assert row["lambda_max.reason"] is None
    member = next(iter(training.trained()))
    part = training.parts.train
    with surface_over(training.evaluation_module, (member.params, member.buffers), cross_entropy, part) as surface:
        _, gradient = surface.value_and_gradient()
        few = surface.subset(7)
        assert few.num_samples == 7
        assert few.value() > 0
    module = copy.deepcopy(training.evaluation_module).eval()
    module.load_state_dict({**member.params, **member.buffers})
    loss = F.cross_entropy(module(part.standardized()), part.targets)
    expected = torch.autograd.grad(loss, list(module.parameters()))
    torch.testing.assert_close(gradient, torch.cat([g.reshape(-1) for g in expected]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("returns", "output"), [("dict", None), ("named", None), ("dict", "logits"), ("tuple", 1), ("tuple", second)]
)
def test_the_output_is_picked(returns, output):
    of = trial("tokens", returns=returns, output=output)
    assert check_against_data(of, of.data.load(0)) == []
    plain = next(iter(trained(trial("tokens")).trained()))
    for execution in ("alone", "together"):
        member = next(iter(trained(of, execution).trained()))
        torch.testing.assert_close(member.params["last.weight"], plain.params["last.weight"], rtol=1e-4, atol=1e-5)


def test_a_tuple_of_outputs_is_refused_with_what_to_say():
    (line,) = check_against_data(trial("tokens", returns="tuple"), Data("tokens").load(0))
    assert "returns tuple" in line
    assert "output=" in line


@pytest.mark.parametrize("form", ["tokens", "tuple", "dict"])
@pytest.mark.parametrize("remedy", [Mixup(alpha=0.2), Augmentation(shift=1)])
def test_remedies_that_compute_with_inputs_are_refused(form, remedy):
    (line,) = check_against_data(trial(form, remedy), Data(form).load(0))
    assert remedy.name in line
    assert "must be one tensor of real numbers" in line


def test_a_tree_of_other_parts_or_lengths_is_refused():
    data = Data("dict").load(0)
    lost = replace(data, test=Part({"ids": TOKENS, "x": FEATURES}, TARGETS))
    assert "inputs are ids, x, those of the train part ids, mask, x" in lost.problems[0]
    short = replace(data, test=Part({"ids": TOKENS[:-1], "mask": MASK, "x": FEATURES}, TARGETS))
    assert short.problems == [
        "data, test part: inputs ids: 47 inputs and 48 labels: there must be one label for each input"
    ]
    scaled = replace(data, offset=1.0)
    assert "offset and scale are given for inputs that are a tuple or dict" in scaled.problems[0]


def test_the_fingerprint_sees_every_leaf_and_its_name():
    data = Data("dict").load(0)
    other = replace(data, train=Part({"ids": TOKENS, "mask": ~MASK, "x": FEATURES}, TARGETS))
    renamed = replace(data, train=Part({"ids": TOKENS, "m": MASK, "x": FEATURES}, TARGETS))
    assert len({data.fingerprint(), other.fingerprint(), renamed.fingerprint()}) == 3


def test_a_copy_keeps_the_hooks():
    module = copy.deepcopy(adapted(Bag("dict", "dict"), {"ids": (LENGTH,), "mask": (LENGTH,), "x": (4,)}))
    inputs = {
        "ids": torch.from_numpy(TOKENS[:4]),
        "mask": torch.from_numpy(MASK[:4]),
        "x": torch.from_numpy(FEATURES[:4]),
    }
    assert module(inputs).shape == (4, CLASSES)


def test_networks_of_one_tensor_of_our_layers_get_no_hook():
    module = adapted(nn.Sequential(nn.Linear(3, 2)), (3,))
    assert not module._forward_hooks
    assert not module._forward_pre_hooks


def test_bytes_as_tokens_are_refused_in_one_line():
    with pytest.raises(RequestError, match="the network cannot take them") as error:
        fitting_network(Model("tokens"), (4,), CLASSES, cast(torch.ones(2, 4), torch.float32))
    assert len(error.value.problems) == 1
    assert mapped(torch.numel, (torch.zeros(2),)) == (2,)
