"""What does a step cost with each remedy, beside the plain step?

    python benchmarks/remedy_cost.py [--network F1 C1] [--batch-size 1024] [--rounds 15] [--device cpu] [--execution alone]

Every remedy of tune_lb/remedies is found by scanning and made active by the middle of its suggested ranges (or by CHOSEN).
All trainings live in one process and take turns, one update of each per round, so that what else the machine does falls on
all alike; a ratio is the median over rounds of (update with the remedy / plain update of the same round). The data path is
included, evaluation is not. Images are random numbers: times do not depend on them. Remedies that change the size of the
batch are left out, and those that act in some steps only are timed in the steps in which they act.

Then ghost batch norm at 32 groups beside a loop over the groups, one batch norm call each: the step, and the layer alone;
and gradient noise at a batch of 64, where drawing the numbers shows.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from timing import in_turns, median_ratio, timed
from torch import Tensor, nn

from tune_lb.budgets import Updates
from tune_lb.cli.remedies import remedy_classes
from tune_lb.data.dataset import DataSet, DataSource, Part
from tune_lb.data.device import on_device
from tune_lb.losses import cross_entropy
from tune_lb.models.alexnet import C1
from tune_lb.models.mlp import MLP
from tune_lb.optimizers.elementwise import SGD
from tune_lb.remedies.adaptive_linearization import AdaptiveLinearization
from tune_lb.remedies.conservative import Conservative
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.gradient_norm_penalty import GradientNormPenalty
from tune_lb.remedies.layer_noise import LayerNoise
from tune_lb.remedies.multiplicative_noise import MultiplicativeNoise
from tune_lb.remedies.sam import SAM
from tune_lb.schedules import Constant
from tune_lb.settings.setting import setting
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.remedy import Remedy, overrides
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial
from tune_lb.training.ways import EXECUTIONS

NETWORKS = {"F1": (MLP(hidden=(512,) * 5), (784,)), "C1": (C1(), (3, 32, 32))}
NUM_GROUPS = 32

GOALS = {
    "sam": 2.1,
    "ghost_batch_norm": 1.10,
    **dict.fromkeys(("gradient_noise", "initial_variance_noise", "multiplicative_noise"), 1.05),
    **dict.fromkeys(("warmup", "scaling", "label_smoothing", "ema", "swa", "lawa"), 1.03),
}


@dataclass(frozen=True)
class RandomImages(DataSource):
    """Random numbers in ten classes."""

    num_train: int = setting(1024, "examples to train on", low=1)
    shape: tuple[int, ...] = setting((784,), "of an image")

    def load(self, split_seed: int) -> DataSet:
        """Return one part of numbers three times."""
        rng = np.random.default_rng(split_seed)
        inputs = rng.normal(size=(self.num_train, *self.shape)).astype(np.float32)
        part = Part(inputs, rng.integers(10, size=self.num_train))
        return DataSet("random_images", 10, part, part, part)


@dataclass(frozen=True)
class LoopedBatchNorm(Remedy):
    """Ghost batch norm as it is usually written: the batch cut into chunks, a call of batch norm for each."""

    name: ClassVar[str] = "looped_batch_norm"

    num_groups: int = setting(1, "chunks", low=1)

    def model(self, module: nn.Module) -> nn.Module:
        """Give every batch norm a forward pass in chunks."""
        for part in module.modules():
            for plain, looped in ((nn.BatchNorm1d, Looped1d), (nn.BatchNorm2d, Looped2d)):
                if type(part) is plain:
                    part.__class__ = looped
                    part.__dict__["num_groups"] = self.num_groups
        return module


class Looped1d(nn.BatchNorm1d):
    """BatchNorm1d in chunks, as TabNet's and Composer's ghost batch norms are."""

    num_groups: int

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C)."""
        return torch.cat([super(Looped1d, self).forward(chunk) for chunk in input.chunk(self.num_groups)])


class Looped2d(nn.BatchNorm2d):
    """BatchNorm2d in chunks."""

    num_groups: int

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        return torch.cat([super(Looped2d, self).forward(chunk) for chunk in input.chunk(self.num_groups)])


def chosen(batch_size: int) -> dict[str, Remedy]:
    """Return what the middle of the ranges would not show: other forms, and the steps in which a remedy acts."""
    group = max(2, batch_size // NUM_GROUPS)
    return {
        "ghost_batch_norm": GhostBatchNorm(ghost_batch_size=group),
        "sam": SAM(rho=0.1),
        f"sam, m = {4 * group}": SAM(rho=0.1, m=4 * group),
        "sam, p = 3": SAM(rho=0.1, p=3.0),
        "sam, adaptive": SAM(rho=0.5, adaptive=True),
        "gradient_norm_penalty": GradientNormPenalty(coefficient=0.01),
        f"gradient_norm_penalty, m = {4 * group}": GradientNormPenalty(coefficient=0.01, m=4 * group),
        "layer_noise, measuring": LayerNoise(scale=0.1, small_batch_size=group, every=1),
        "layer_noise": LayerNoise(scale=0.1, small_batch_size=group, every=1_000_000),
        "adaptive_linearization, moving": AdaptiveLinearization(start=0.5, delta_plus=0.1, every=1),
        "adaptive_linearization": AdaptiveLinearization(start=0.5, delta_plus=0.1, every=1_000_000),
        "multiplicative_noise": MultiplicativeNoise(small_batch_size=group),
        "multiplicative_noise, isotropic": MultiplicativeNoise(small_batch_size=group, covariance="isotropic"),
        "conservative, 3 steps": Conservative(iterations=3),
    }


def active(batch_size: int) -> dict[str, Remedy]:
    """Return an active instance of every remedy that leaves the batch as large as it is."""
    found = chosen(batch_size)
    there = {remedy.name for remedy in found.values()}
    for kind in remedy_classes():
        middle = {name: domain.at(0.5) for name, domain in kind.suggested().items()}
        remedy = dataclasses.replace(kind(), **middle)
        if kind.name not in there and not overrides(remedy, "batch_size"):
            found[kind.name] = remedy
    return dict(sorted(found.items()))


def trial_of(network: str, batch_size: int, *remedies: Remedy) -> Trial:
    """Return a trial of one full batch after the other."""
    model, shape = NETWORKS[network]
    return Trial(
        arm="timed",
        data=RandomImages(num_train=batch_size, shape=shape),
        model=model,
        optimizer=SGD(momentum=0.9),
        schedule=Constant(),
        budget=Updates(100_000),
        loss=cross_entropy,
        batch_size=batch_size,
        lr=1e-3,
        remedies=remedies,
    )


def ratios(calls: Mapping[str, Callable[[], object]], rounds: int, device: str) -> dict[str, tuple[float, float]]:
    """Return the median seconds of each call, and the median of its ratio to the first of the same round."""
    times = in_turns({name: functools.partial(timed, call, device) for name, call in calls.items()}, rounds + 2)
    # the first two rounds allocate, and compile where steps are compiled
    kept = {name: values[2:] for name, values in times.items()}
    first = kept[next(iter(kept))]
    return {name: (statistics.median(values), median_ratio(values, first)) for name, values in kept.items()}


def timed_steps(
    network: str, batch_size: int, remedies: Mapping[str, Remedy], given: argparse.Namespace
) -> dict[str, tuple[float, float]]:
    """Return seconds and ratio of an update with each remedy, the plain one first; refused ones are said and left out."""
    plain = trial_of(network, batch_size)
    data = plain.data.load(0)
    parts = on_device(data, given.device)
    calls: dict[str, Callable[[], object]] = {}
    for name, remedy in {"plain": None, **remedies}.items():
        trial = plain if remedy is None else trial_of(network, batch_size, remedy)
        refused = trial.problems() + check_against_data(trial, data)
        if refused:
            print(f"left out on {network}: {name} ({refused[0]})")
            continue
        running = Training(trial, [0], parts, execution=given.execution)
        calls[name] = functools.partial(running.advance, 1e-9)
    return ratios(calls, given.rounds, given.device)


def timed_layer(batch_size: int, units: int, given: argparse.Namespace) -> float:
    """Return how many times longer a loop over the groups takes than all groups at once, forward and backward of one layer."""
    x = torch.randn(batch_size, units, device=given.device, requires_grad=True)
    weights = torch.randn_like(x)
    layers = {
        "ghost": GhostBatchNorm(ghost_batch_size=batch_size // NUM_GROUPS).model(nn.BatchNorm1d(units)),
        "loop": LoopedBatchNorm(num_groups=NUM_GROUPS).model(nn.BatchNorm1d(units)),
    }

    def call(layer: nn.Module) -> object:
        return torch.autograd.grad(layer(x), [x, *layer.parameters()], weights)

    calls = {name: functools.partial(call, layer.to(given.device)) for name, layer in layers.items()}
    return ratios(calls, 3 * given.rounds, given.device)["loop"][1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="+", choices=sorted(NETWORKS), default=["F1", "C1"])
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--execution", choices=EXECUTIONS, default="alone")
    parser.add_argument("--only", nargs="+", default=None, help="remedies by name")
    given = parser.parse_args()
    torch.set_num_threads(1)
    B = given.batch_size
    print(f"torch {torch.__version__}, {given.device}, 1 thread, {given.execution}, {given.rounds} rounds, B = {B}")
    remedies = {n: r for n, r in active(B).items() if given.only is None or r.name in given.only}
    found = {network: timed_steps(network, B, remedies, given) for network in given.network}
    print(f"\n{'remedy':44}" + "".join(f"{network:>16}" for network in found) + "   goal")
    for name in ("plain", *remedies):
        cells = [
            f"{rows[name][0] * 1e3:9.1f} ms 1.00"
            if name == "plain"
            else f"{rows[name][1]:16.2f}"
            if name in rows
            else f"{'-':>16}"
            for rows in found.values()
        ]
        goal = GOALS.get(name)
        print(f"{name:44}" + "".join(cells) + ("" if goal is None else f"   {goal:.2f}"))

    group = B // NUM_GROUPS
    pair = {"ghost": GhostBatchNorm(ghost_batch_size=group), "loop": LoopedBatchNorm(num_groups=NUM_GROUPS)}
    print(f"\nghost batch norm, {NUM_GROUPS} groups of {group}: a loop over the groups takes longer")
    for units in (64, 128, 512):
        print(f"  {timed_layer(B, units, given):.1f} times, one layer of {units} units, forward and backward (goal: 3)")
    for network in given.network:
        rows = timed_steps(network, B, pair, given)
        more = [rows[name][0] - rows["plain"][0] for name in ("loop", "ghost")]
        print(
            f"  {rows['loop'][0] / rows['ghost'][0]:.2f} times, step of {network}; added to the plain step: "
            f"{more[0] * 1e3:.2f} ms by the loop, {more[1] * 1e3:.2f} ms by ghost groups"
        )
    noise = {"gradient_noise": GradientNoise(alpha=1e-6)}
    for network in given.network:
        rows = timed_steps(network, 64, noise, given)
        print(f"gradient noise at B = 64, {network}: {rows['gradient_noise'][1]:.2f} times the plain step")


if __name__ == "__main__":
    main()
