"""How many images a second are trained on, beside the ordinary way and beside a JAX program?

    python benchmarks/train_step.py [--networks C1 F1] [--ways together jax] [--device cpu] [--threads 1] [--rounds 3]

One process trains each network in every way, by SGD with momentum on the same data, batch size, device and threads; the ways
take turns of a few updates. Images of all members count. A ratio is the median over rounds of (images per second / those of
another way in the same round): beside "ordinary" by the clock on the wall, as its workers are other processes; beside
"resident" by processor time on a CPU, which other work on the machine hardly moves. The data path is included, but for "step
only". Needs MNIST and CIFAR10 in TUNE_LB_DATA.

    ordinary           torchvision data set (ToTensor, Normalize), DataLoader with workers, nn.Module, backward, torch.optim.SGD;
                       one member. The workers are processes of their own, beside the threads that all others must do with
    resident           the same loop with the data set in memory, each batch gathered by a shuffled index and standardized
    step only          the same loop on batches that lie on the device already: no data path
    channels last      step only, network and images in torch.channels_last
    alone ...          tune_lb's ways (tune_lb.training.ways.EXECUTIONS); together: K members stacked
    jax, jax together  the whole as one JAX program: scan over steps, vmap over members (extra `bench`)

The clock of a way starts at its second turn. Start-up is what the first one takes beyond a usual one: compilers begin with
empty caches, as in the first process on a machine. It pays after so many batches of one member that the time saved beside
the fastest of tune_lb's eager ways exceeds it.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import jax_program
import numpy as np
import ordinary
import torch
import torchvision
from timing import in_turns, median_ratio, timed
from torch import nn

from tune_lb.budgets import Updates
from tune_lb.data.cifar import CIFAR10
from tune_lb.data.dataset import DataSource
from tune_lb.data.device import on_device
from tune_lb.data.digits import Digits
from tune_lb.data.mnist import MNIST
from tune_lb.losses import cross_entropy
from tune_lb.models.alexnet import C1
from tune_lb.models.mlp import F1, MLP
from tune_lb.models.resnet import ResNet32
from tune_lb.models.torchvision_model import TorchvisionModel
from tune_lb.models.vgg import C2, VGG11
from tune_lb.optimizers.elementwise import SGD
from tune_lb.schedules import Constant
from tune_lb.settings.setting import Settings
from tune_lb.training.training import Training
from tune_lb.training.trial import Model, Trial
from tune_lb.training.ways import EXECUTIONS
from tune_lb.tuning.compiling import can_compile

LR, MOMENTUM = 1e-3, 0.9
WAYS = ("ordinary", "resident", "step only", "channels last", *EXECUTIONS, "jax", "jax together")
EAGER = ("alone", "together")


@dataclass(frozen=True)
class Transformer(Settings):
    """Two encoder layers of 4 heads and 128 channels over patches of 4 x 4, their mean, one linear layer."""

    def __call__(self, input_shape: Sequence[int], num_classes: int) -> nn.Module:
        """Return the network for images (C, H, W)."""
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True)
        encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        return nn.Sequential(
            nn.Conv2d(input_shape[0], 128, 4, 4), Tokens(), encoder, Mean(), nn.Linear(128, num_classes)
        )


class Tokens(nn.Module):
    """Positions as tokens."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, positions, C) for (B, C, H, W)."""
        return x.flatten(2).transpose(1, 2)


class Mean(nn.Module):
    """Mean over tokens."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, C) for (B, tokens, C)."""
        return x.mean(1)


@dataclass(frozen=True)
class Case:
    """A network and, for a CPU, how much of it is trained in a turn."""

    model: Model
    data: DataSource
    batch_size: int
    members: int
    steps: int
    ways: tuple[str, ...] = WAYS
    """Those of a CPU; compiling the others of a deep network takes minutes there."""
    theirs: str = ""
    """torchvision's name of the network, which the loops then train as torchvision makes it."""

    def network(self, input_shape: Sequence[int], num_classes: int) -> nn.Module:
        """Return the network that the ordinary loops train."""
        if self.theirs:
            return torchvision.models.get_model(self.theirs, weights=None, num_classes=num_classes)
        return self.model(input_shape, num_classes)

    def sized(self, given: argparse.Namespace) -> Case:
        """Return the case as it was asked for; a GPU has room for more."""
        gpu = given.device != "cpu"
        return dataclasses.replace(
            self,
            batch_size=given.batch_size or (256 if gpu and self.data is CIFAR else self.batch_size),
            members=given.members or (8 if gpu else self.members),
            steps=given.steps or (50 if gpu else self.steps),
            ways=given.ways or (WAYS if gpu else self.ways),
        )

    def trial(self) -> Trial:
        """Return the training as tune_lb is asked for it."""
        return Trial(
            arm="timed",
            data=self.data,
            model=self.model,
            optimizer=SGD(momentum=MOMENTUM),
            schedule=Constant(),
            budget=Updates(100_000),
            loss=cross_entropy,
            batch_size=self.batch_size,
            lr=LR,
        )


SOME = ("ordinary", "resident", "step only", "channels last", "alone", "together", "compiled_alone")
FEW = ("ordinary", "resident", "alone", "together")
CIFAR = CIFAR10(num_train=10_000)
CASES = {
    "quickstart": Case(MLP(hidden=(128, 128, 128)), Digits(num_train=1200, num_validation=0), 32, 5, 60),
    "F1": Case(F1(), MNIST(), 256, 5, 6),
    "C1": Case(C1(), CIFAR, 128, 3, 4),
    "ResNet-32": Case(ResNet32(), CIFAR, 64, 2, 2, SOME),
    "C2": Case(C2(), CIFAR, 16, 2, 2, SOME),
    "VGG-11": Case(VGG11(), CIFAR, 64, 2, 2, FEW),
    "resnet18": Case(TorchvisionModel("resnet18"), CIFAR, 64, 2, 2, FEW, theirs="resnet18"),
    "transformer": Case(Transformer(), CIFAR, 32, 4, 2, FEW),
}


@dataclass
class Timed:
    """A way of training one network, and what was seen of it."""

    turn: Callable[[], float]
    images: int
    """Of all members, in a turn."""
    first_s: float = 0.0
    times: list[float] = field(default_factory=list)
    processor_times: list[float] = field(default_factory=list)
    """Of this process, all its threads."""
    peak_bytes: int = 0

    @property
    def seconds(self) -> float:
        """Return the median of a turn."""
        return statistics.median(self.times)

    @property
    def start_up_s(self) -> float:
        """Return what the first turn took beyond that."""
        return self.first_s - self.seconds


def ways_of(case: Case, given: argparse.Namespace) -> dict[str, Timed]:
    """Return every way asked for, ready for its first turn."""
    trial, data = case.trial(), case.data.load(0)
    parts, device, steps, members = on_device(data, given.device), given.device, case.steps, case.members
    per_member = steps * case.batch_size
    found: dict[str, Timed] = {}

    def looped(channels_last: bool = False) -> Callable[[ordinary.Batches], list[torch.Tensor]]:
        form = torch.channels_last if channels_last else torch.contiguous_format
        network = case.network(parts.input_shape, parts.num_classes).to(device, memory_format=form).train()
        optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM)
        return lambda batches: ordinary.updates(network, optimizer, batches, device, form)

    def ready(channels_last: bool = False) -> Callable[[], ordinary.Batches]:
        inputs = [parts.train.standardized(slice(i * case.batch_size, (i + 1) * case.batch_size)) for i in range(4)]
        if channels_last:
            inputs = [x.to(memory_format=torch.channels_last) for x in inputs]
        kept = list(zip(inputs, parts.train.targets.split(case.batch_size), strict=False))
        return lambda: iter([kept[i % len(kept)] for i in range(steps)])

    def resident() -> ordinary.Batches:
        train = parts.train
        order = torch.randperm(len(train))[:per_member].to(train.inputs_device)
        for index in order.split(case.batch_size):
            yield train.standardized(index), train.targets[index]

    for way in WAYS:
        if way not in case.ways:
            continue
        if way == "ordinary":
            batches = ordinary.loader(data, case.batch_size, steps, given.workers, device)
            turn = _loop_turn(lambda batches=batches: iter(batches), looped(), device)
            found[way] = Timed(turn, per_member)
        elif way == "resident":
            found[way] = Timed(_loop_turn(resident, looped(), device), per_member)
        elif way in ("step only", "channels last"):
            last = way == "channels last"
            if not last or len(parts.input_shape) == 3:
                found[way] = Timed(_loop_turn(ready(last), looped(last), device), per_member)
        elif way.startswith("jax"):
            if importlib.util.find_spec("jax") is None:
                print(f"left out: {way} (jax is not installed: pip install tune_lb[bench])")
                continue
            count = members if way.endswith("together") else 1
            networks = [case.model(parts.input_shape, parts.num_classes) for _ in range(count)]
            of = jax_program.JaxTraining(networks, data.train, (data.offset, data.scale), case.batch_size, LR, MOMENTUM)
            found[way] = Timed(_jax_turn(of, steps, device), count * per_member)
        elif way.startswith("compiled") and not can_compile(torch.device(device)):
            print(f"left out: {way} (no compiler)")
        else:
            count = members if way.endswith("together") else 1
            training = Training(trial, range(count), parts, execution=way)
            # a unit of `steps` whole batches: advance stops at its next multiple
            epochs = per_member / len(parts.train.targets)
            found[way] = Timed(_training_turn(training, epochs, device), count * per_member)
    return found


def _loop_turn(
    start: Callable[[], ordinary.Batches], train: Callable[[ordinary.Batches], list[torch.Tensor]], device: str
) -> Callable[[], float]:
    return lambda: ordinary.seconds(start, train, device)


def _jax_turn(training: jax_program.JaxTraining, steps: int, device: str) -> Callable[[], float]:
    rng = np.random.default_rng(0)
    return lambda: timed(lambda: training.advance(training.orders(steps, rng)), device)


def _training_turn(training: Training, epochs: float, device: str) -> Callable[[], float]:
    return lambda: timed(lambda: training.advance(epochs), device)


def run(name: str, case: Case, given: argparse.Namespace) -> dict[str, Timed]:
    """Time every way of one network."""
    found = ways_of(case, given)
    for label, way in found.items():
        if given.device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        way.first_s = timed(way.turn, given.device)
        print(f"{name}: {label}: first turn {way.first_s:.1f} s", file=sys.stderr, flush=True)
        if given.device != "cpu":
            way.peak_bytes = torch.cuda.max_memory_allocated()
    turns = {label: _clocked(way) for label, way in found.items()}
    for label, times in in_turns(turns, given.rounds).items():
        found[label].times = times
    return found


def _clocked(way: Timed) -> Callable[[], float]:
    def turn() -> float:
        started = time.process_time()
        seconds = way.turn()
        way.processor_times.append(time.process_time() - started)
        return seconds

    return turn


def table(name: str, case: Case, found: dict[str, Timed]) -> list[str]:
    """Return the lines of a network."""
    lines = []
    eager = min((found[way].seconds / found[way].images for way in EAGER if way in found), default=None)
    for way, of in found.items():
        ratio, resident = (
            f"{relative(found, way, beside):.2f}" if beside in found else "-" for beside in ("ordinary", "resident")
        )
        start_up, pays = "", ""
        if way.startswith(("compiled", "jax")):
            start_up = f"{of.start_up_s:.0f} s"
            saved = 0.0 if eager is None else (eager - of.seconds / of.images) * case.batch_size
            pays = f"{of.start_up_s / saved:,.0f}" if saved > 0 else "never"
        peak = f"{of.peak_bytes / 2**20:,.0f} MiB" if of.peak_bytes else ""
        label = f"{name}, B = {case.batch_size}, K = {case.members}" if way == next(iter(found)) else ""
        speed = f"{of.images / of.seconds:,.0f}"
        lines.append(f"| {label} | {way} | {speed} | {ratio} | {resident} | {start_up} | {pays} | {peak} |")
    return lines


def relative(found: dict[str, Timed], way: str, beside: str) -> float:
    """Return images per second of a way over those of another, as the median over rounds."""
    one, other = found[way], found[beside]
    on_gpu = one.peak_bytes > 0  # its time is none of the processor's
    times = [of.processor_times if beside == "resident" and not on_gpu else of.times for of in (other, one)]
    return median_ratio(*times) * one.images / other.images


def goals(name: str, found: dict[str, Timed], gpu: bool) -> list[str]:
    """Return what was to be reached, and what was."""
    own = [way for way in EXECUTIONS if way in found]
    stacked = [way for way in own if way.startswith("compiled")]
    asked: list[tuple[str, Sequence[str], str, float]] = []
    if name == "quickstart":
        asked += [("images per second, compiled, beside step only", stacked, "step only", 8.0 if gpu else 3.0)]
        asked += [("images per second, compiled, beside jax together", stacked, "jax together", 1 / 1.5)]
    else:
        asked += [("images per second, fastest way, beside ordinary", own, "ordinary", 5.0 if gpu else 1.3)]
    asked += [("images per second, alone, beside step only", ["alone"], "step only", 1 / 1.2)]
    asked += [("images per second, fastest way, beside resident", own, "resident", 1.0)]
    lines = []
    for what, ways, beside, goal in asked:
        if beside in found and all(way in found for way in ways) and ways:
            reached = max(relative(found, way, beside) for way in ways)
            lines.append(f"| {name}: {what} | >= {goal:.2f} | {reached:.2f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="instead of each network's own")
    parser.add_argument("--batch-size", type=int, help="instead of each network's own")
    parser.add_argument("--members", type=int, help="K; instead of each network's own")
    parser.add_argument("--steps", type=int, help="updates in a turn; instead of each network's own")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    jax_program.limit_threads(given.threads)
    has_jax = importlib.util.find_spec("jax") is not None
    versions = f"torch {torch.__version__}, jax {importlib.metadata.version('jax') if has_jax else 'not installed'}"
    print(
        f"{datetime.date.today()}: {given.device}, threads: {given.threads}, cores: {os.cpu_count()}, {versions}, "
        f"Python {platform.python_version()}; {given.rounds} rounds, {given.workers} workers\n"
    )
    print(
        "| network | way | images per second | x ordinary | x resident | start-up | pays after batches | peak on the GPU |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    reached = []
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty
        for name in given.networks:
            case = CASES[name].sized(given)
            found = run(name, case, given)
            print("\n".join(table(name, case, found)), flush=True)
            reached += goals(name, found, given.device != "cpu")
    print("\n| goal | asked | found |\n|---|---:|---:|", *reached, sep="\n")


if __name__ == "__main__":
    main()
