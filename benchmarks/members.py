"""What an update of one member costs where members of different rates train as one program.

    python benchmarks/members.py [--networks quickstart-20 F1] [--members 1 4 16 32 64] [--rounds 5] [--threads 1]

One process trains each network in every way, by SGD with momentum and weight decay on the same data, each member with a rate and a
seed of its own; ways take turns of a few updates. The figure is processor time per update and member, the median over rounds,
and its ratio to the ordinary loop's of the same round; so other work on the machine hardly counts. Needs MNIST in
TUNE_LB_DATA for all but quickstart.

    ordinary       nn.Module, backward, torch.optim.SGD; each batch gathered from data that lie in memory; one member
    alone          tune_lb's, one member after the other
    one trial      members of one rate stacked (execution "together" of a single trial), as many
    stack          members of different rates as one program (tune_lb/training/stack.py)
    compiled       the same, its update compiled whole (tune_lb/training/compiled_stack.py)
    jax            the same steps as one JAX program: scan over steps, vmap over members with a rate each (extra `bench`); left out
                   where JAX is not installed
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import jax_program
import numpy as np
import torch
import torch.nn.functional as F
from timing import in_turns, median_ratio

from tune_lb.budgets import Updates
from tune_lb.data.dataset import DataSource
from tune_lb.data.device import Parts, on_device
from tune_lb.data.digits import Digits
from tune_lb.data.mnist import MNIST
from tune_lb.losses import cross_entropy
from tune_lb.models.mlp import F1, MLP
from tune_lb.models.small_cnn import SmallCNN
from tune_lb.optimizers.elementwise import SGD
from tune_lb.schedules import Constant
from tune_lb.training.stack import Stack
from tune_lb.training.training import Training
from tune_lb.training.trial import Model, Trial

LR, MOMENTUM, DECAY = 1e-3, 0.9, 1e-4
GOAL = ("quickstart-20", 32, 0.4)
"""Of the ordinary loop's time, at so many members."""


@dataclass(frozen=True)
class Case:
    """A network, and how much of it is trained in a turn."""

    model: Model
    data: DataSource
    batch_size: int
    steps: int
    most: int = 64

    def trial(self, rate: float = LR) -> Trial:
        """Return a configuration as tune_lb is asked for it."""
        return Trial(
            arm="timed",
            data=self.data,
            model=self.model,
            optimizer=SGD(momentum=MOMENTUM, weight_decay=DECAY),
            schedule=Constant(),
            budget=Updates(100_000),
            loss=cross_entropy,
            batch_size=self.batch_size,
            lr=rate,
        )


QUICKSTART = (MLP(hidden=(128, 128, 128)), Digits(num_train=1200, num_validation=0))
CASES = {
    "quickstart-20": Case(*QUICKSTART, 20, 30),
    "quickstart-32": Case(*QUICKSTART, 32, 30),
    "quickstart-400": Case(*QUICKSTART, 400, 6),
    "F1-256": Case(F1(), MNIST(), 256, 2, 16),
    "SmallCNN-32": Case(SmallCNN(), MNIST(), 32, 2, 16),
}


def ordinary(case: Case, parts: Parts) -> Callable[[], object]:
    """Return so many updates of the ordinary loop."""
    network = case.model(parts.input_shape, parts.num_classes).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)

    def turn() -> None:
        for _ in range(case.steps):
            index = torch.randint(len(parts.train.targets), (case.batch_size,))
            optimizer.zero_grad()
            loss = F.cross_entropy(network(parts.train.standardized(index)), parts.train.targets[index])
            loss.backward()
            optimizer.step()

    return turn


def ways_of(case: Case, numbers: list[int]) -> dict[str, tuple[int, Callable[[], object]]]:
    """Return every way with its members, ready for its first turn."""
    data = case.data.load(0)
    parts = on_device(data, "cpu")
    epochs = case.steps * case.batch_size / len(parts.train.targets)
    single = Training(case.trial(), [0], parts)
    found: dict[str, tuple[int, Callable[[], object]]] = {
        "ordinary": (1, ordinary(case, parts)),
        "alone": (1, lambda: single.advance(epochs)),
    }
    for number in (n for n in numbers if 1 < n <= case.most):
        of_one = Training(case.trial(), range(number), parts, execution="together")
        found[f"one trial, {number}"] = (number, lambda of_one=of_one: of_one.advance(epochs))
        rates = [LR * (1 + i / number) for i in range(number)]
        for way, size in {"stack": None, "compiled": number}.items():
            stack = Stack([Training(case.trial(rate), [i], parts) for i, rate in enumerate(rates)], size)
            found[f"{way}, {number}"] = (number, lambda stack=stack: stack.advance(epochs))
        if importlib.util.find_spec("jax") is not None:
            networks = [case.model(parts.input_shape, parts.num_classes) for _ in range(number)]
            constants = (data.offset, data.scale)
            of = jax_program.JaxTraining(networks, data.train, constants, case.batch_size, rates, MOMENTUM, DECAY)
            rng = np.random.default_rng(0)
            found[f"jax, {number}"] = (number, lambda of=of, rng=rng: of.advance(of.orders(case.steps, rng)))
    return found


def clocked(turn: Callable[[], object]) -> float:
    """Return the processor seconds of a turn."""
    started = time.process_time()
    turn()
    return time.process_time() - started


def run(name: str, case: Case, numbers: list[int], rounds: int) -> list[str]:
    """Time every way of a network; return the lines of the table."""
    ways = ways_of(case, numbers)
    for _, turn in ways.values():
        turn()
    times = in_turns({way: lambda turn=turn: clocked(turn) for way, (_, turn) in ways.items()}, rounds)
    lines = []
    for way, (members, _) in ways.items():
        each = 1e3 * statistics.median(times[way]) / case.steps / members
        ratio = median_ratio(times[way], times["ordinary"]) / members
        goal = ""
        if (name, way) == (GOAL[0], f"stack, {GOAL[1]}"):
            goal = f" (goal {GOAL[2]}{'' if ratio <= GOAL[2] else ', not reached'})"
        beside = f"jax, {members}"
        of_jax = f"{median_ratio(times[way], times[beside]):.2f}" if beside in times and members > 1 else ""
        lines.append(f"| {name if way == 'ordinary' else ''} | {way} | {each:.3f} | {ratio:.2f}{goal} | {of_jax} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--members", nargs="+", type=int, default=[1, 4, 16, 32, 64])
    parser.add_argument("--steps", type=int, help="updates in a turn; instead of each network's own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    jax_program.limit_threads(given.threads)
    print(
        f"{datetime.date.today()}: threads: {given.threads}, cores: {os.cpu_count()}, load {os.getloadavg()[0]:.1f}, torch "
        f"{torch.__version__}, Python {platform.python_version()}; {given.rounds} rounds\n"
    )
    print(
        "| network, batch | way, members | ms per update and member | of ordinary | of jax |\n|---|---|---:|---:|---:|"
    )
    for name in given.networks:
        case = CASES[name]
        case = dataclasses.replace(case, steps=given.steps or case.steps)
        print("\n".join(run(name, case, given.members, given.rounds)), flush=True)


if __name__ == "__main__":
    main()
