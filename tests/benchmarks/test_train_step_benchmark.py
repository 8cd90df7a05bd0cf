"""benchmarks/train_step.py compares like with like: the ordinary loop, tune_lb and JAX take the same steps."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainings import trial
from tune_lb.data.dataset import DataSet, Part
from tune_lb.data.device import on_device
from tune_lb.models.alexnet import C1
from tune_lb.models.dropout import KeyedDropout
from tune_lb.models.mlp import MLP
from tune_lb.models.resnet import ResNet
from tune_lb.models.vgg import C2
from tune_lb.optimizers.elementwise import SGD
from tune_lb.schedules import Constant
from tune_lb.training.training import Training

RATE, STEPS = 0.05, 3


@dataclass(frozen=True)
class WithoutDropout:
    """A network whose dropout does nothing: JAX draws masks of its own."""

    model: Callable[..., nn.Module]

    def __call__(self, *shapes):
        module = self.model(*shapes)
        for part in module.modules():
            if isinstance(part, KeyedDropout):
                part.p = 0.0
        return module


NETWORKS = [MLP(hidden=(16, 16)), C1(), C1(variant="code"), ResNet(depth=8, preactivation=True)]


@pytest.fixture
def program(monkeypatch):
    """Import a module of benchmarks/, whose scripts are run from there."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module


def images(num_train=24):
    rng = np.random.default_rng(0)
    part = Part(rng.integers(256, size=(num_train, 3, 32, 32), dtype=np.uint8), rng.integers(10, size=num_train))
    return DataSet("images", 10, part, part, part, (120.0, 110.0, 100.0), (60.0, 61.0, 62.0))


def member(model, dtype=torch.float64):
    """Return a training of one member, and a module that starts where it does."""
    of = trial(optimizer=SGD(momentum=0.9), schedule=Constant(), model=model, batch_size=8, lr=RATE)
    training = Training(of, [3], on_device(images(), "cpu"), dtype=dtype)
    module = model((3, 32, 32), 10).to(dtype).train()
    module.load_state_dict(training.initial(3), strict=False)
    return training, module


def largest_difference(training, tensors, relative=False):
    """Return the largest difference of a value; relative: in parts of its tensor's largest value, where that is above 1."""
    trained = next(training.trained())
    ours = trained.params | trained.buffers
    found = []
    for name, value in tensors.items():
        theirs = torch.as_tensor(value)
        size = max(1.0, float(theirs.abs().max())) if relative else 1.0
        found.append(float((ours[name] - theirs).abs().max()) / size)
    return max(found)


@pytest.mark.parametrize("model", [*NETWORKS, pytest.param(C2(), marks=pytest.mark.slow)], ids=repr)
def test_the_ordinary_loop_takes_the_steps_of_tune_lb(program, model):
    training, module = member(model)
    keyed = [part for part in module.modules() if hasattr(part, "dropout_key")]
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE, momentum=0.9)
    for step in range(STEPS):
        batch = training.batches.batch(3, step)
        for part in keyed:
            part.dropout_key = batch.examples["dropout_key"]
        program("ordinary").updates(module, optimizer, iter([(batch.inputs, batch.targets)]), "cpu")
        training.advance(1e-9)
    tensors = {name: value for name, value in module.state_dict().items() if not name.endswith("dropout_key")}
    # kernels lie with the channels last in memory, which changes the order of sums; at this rate C2's rounding errors grow a
    # hundredfold and more per step, and its running variances, in the hundreds after the third, show them first
    assert largest_difference(training, tensors, relative=True) < 1e-9


def test_the_ordinary_data_path_gives_the_same_inputs(program):
    data = images()
    items = program("ordinary").Images(data)
    train = on_device(data, "cpu").train
    assert len(items) == len(train.targets)
    for i in (0, 7):
        torch.testing.assert_close(items[i][0], train.standardized(slice(i, i + 1))[0])
        assert items[i][1] == train.targets[i]


def test_a_pass_of_the_ordinary_loader_is_so_many_full_batches(program):
    batches = list(program("ordinary").loader(images(), 8, 7, 0, "cpu"))
    assert [tuple(inputs.shape) for inputs, _ in batches] == [(8, 3, 32, 32)] * 7


@pytest.mark.slow
@pytest.mark.parametrize("model", NETWORKS, ids=repr)
def test_the_jax_program_takes_the_steps_of_tune_lb(program, model):
    pytest.importorskip("jax", reason="the extra `bench` is not installed")
    program("jax_program").limit_threads(1)
    training, module = member(WithoutDropout(model), torch.float32)
    data = images()
    orders = torch.stack([training.batches._order(3, 8 * step, 8 * step + 8) for step in range(STEPS)])
    of = program("jax_program").JaxTraining([module], data.train, (data.offset, data.scale), 8, RATE, 0.9)
    losses = of.advance(orders[None].numpy())
    training.advance(1.0)
    for one in of.members[:2]:
        found = {name: np.array(value[0]) for name, value in one.items()}
        found = {name: value.transpose(3, 2, 0, 1) if value.ndim == 4 else value for name, value in found.items()}
        assert largest_difference(training, found) < 2e-4
    assert losses.shape == (1, STEPS)
