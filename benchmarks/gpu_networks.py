"""Images a second of convolutional networks by precision, beside ordinary loops and beside the device's roof; remedies' costs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import ordinary
import remedy_cost
import torch
import torch.nn.functional as F
from gpu_rows import LR, MOMENTUM, Given, Pixels, autocast, numbers_like, orders, resnet50, trial_of
from timing import in_turns, median_ratio, timed
from torch import nn

from tune_lb.data.dataset import DataSet
from tune_lb.data.device import Parts, on_device
from tune_lb.models.alexnet import C1
from tune_lb.models.resnet import ResNet, ResNet32
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial
from tune_lb.tuning.compiling import can_compile

CIFAR, PHOTOGRAPHS = (3, 32, 32), (3, 224, 224)
NETWORKS: dict[str, tuple[Any, tuple[int, ...], int, bool]] = {
    "C1": (C1(), CIFAR, 1024, True),
    "ResNet-32": (ResNet32(), CIFAR, 1024, True),
    "ResNet-50": (resnet50, PHOTOGRAPHS, 64, True),
    "ResNet-32, small batch": (ResNet32(), CIFAR, 128, False),
}
"""Model, shape of an image, batch size, and whether a DataLoader and a compiled step are timed too."""

PRECISIONS = ("fp32", "tf32", "bf16")
STEPS = 4
"""Updates in a turn; the data set has so many batches."""


def _case(name: str, given: Given) -> tuple[Trial, DataSet, dict[str, Any]]:
    model, shape, batch_size, _ = NETWORKS[name]
    if given.small:
        model, shape, batch_size = ResNet(depth=8, width=2), CIFAR, 4
    trial = trial_of(model, Pixels(num_train=STEPS * batch_size, shape=shape), batch_size)
    return trial, trial.data.load(0), {"network": name.partition(",")[0], "batch_size": batch_size, "members": 1}


def measure(name: str, given: Given) -> Iterator[None]:
    """Record images per second of tune_lb, of ordinary loops, and of the bare forward and backward pass, by precision."""
    trial, data, about = _case(name, given)
    batch_size, wide = trial.batch_size, NETWORKS[name][3]
    loader = None
    if wide:
        with given.trying("images", "DataLoader", **about):
            workers = 0 if given.small else 12
            loader = ordinary.loader(data, batch_size, 2 if given.small else 12, workers, given.device)
            next(iter(loader))  # starts the workers
    yield
    parts = on_device(data, given.device)
    for precision in PRECISIONS:
        numbers_like(precision)
        more = about | {"precision": precision}
        for way, make in ways(trial, parts, precision, given).items():
            with given.trying("images", way, **more):
                call, images = make()
                seconds, number = given.seconds(call)
                given.record("images", way, images / seconds, "images/s", n=number, **more)
        if loader is not None and precision != "tf32":
            with given.trying("images", "DataLoader", **more):
                rate = _loaded(trial, parts, loader, precision, given)
                given.record("images", "DataLoader", rate, "images/s", n=2, **more)


def _loaded(trial: Trial, parts: Parts, loader: Any, precision: str, given: Given) -> float:
    """Return images per second of the ordinary loop over a torchvision DataLoader: the faster of two passes."""
    network, optimizer = _network(trial, parts, given.device)

    def train(batches: ordinary.Batches) -> list[torch.Tensor]:
        with autocast(_kind(given), enabled=precision == "bf16"):
            return ordinary.updates(network, optimizer, batches, given.device)

    taken = [ordinary.seconds(lambda: iter(loader), train, given.device) for _ in range(2)]
    return len(loader) * trial.batch_size / min(taken)


def measure_compiled(name: str, precision: str, given: Given) -> Iterator[None]:
    """Record images per second of tune_lb's compiled step, compiled before the clock runs."""
    trial, data, about = _case(name, given)
    about["precision"] = precision
    numbers_like(precision)
    found: list[Callable[[], Any]] = []
    if given.small or not can_compile(torch.device(given.device)):
        given.record("images", "compiled_alone", None, "", error="left out: no compiler, or a stand-in", **about)
    else:
        with given.trying("images", "compiled_alone", **about):
            parts = on_device(data, given.device)
            found.append(_turn(dataclasses.replace(trial, precision=_own(precision)), parts, "compiled_alone"))
    yield
    for call in found:
        with given.trying("images", "compiled_alone", **about):
            seconds, number = given.seconds(call)
            given.record("images", "compiled_alone", STEPS * trial.batch_size / seconds, "images/s", n=number, **about)


def ways(
    trial: Trial, parts: Parts, precision: str, given: Given
) -> dict[str, Callable[[], tuple[Callable[[], Any], int]]]:
    """Return by name what makes a thing to time: a call, and the images in it."""
    own, per_turn = dataclasses.replace(trial, precision=_own(precision)), STEPS * trial.batch_size
    last = torch.channels_last
    return {
        "alone": lambda: (_turn(own, parts, "alone"), per_turn),
        "plain": lambda: (_turn(own, parts, "plain"), per_turn),
        "ordinary": lambda: (_ordinary(trial, parts, precision, given), per_turn),
        "ordinary, channels last": lambda: (_ordinary(trial, parts, precision, given, last), per_turn),
        "roof": lambda: (_roof(trial, parts, precision, given), trial.batch_size),
        "roof, channels last": lambda: (_roof(trial, parts, precision, given, last), trial.batch_size),
        "roof, channels last, cudnn.benchmark": lambda: (
            _roof(trial, parts, precision, given, last, benchmark=True),
            trial.batch_size,
        ),
    }


def _own(precision: str) -> str:
    return "bf16" if precision == "bf16" else "fp32"


def _kind(given: Given) -> str:
    return "cuda" if given.on_gpu else "cpu"


def _turn(trial: Trial, parts: Parts, execution: str) -> Callable[[], Any]:
    training = Training(trial, [0], parts, execution=execution)
    training.advance(1.0)
    return functools.partial(training.advance, 1.0)


def _network(
    trial: Trial, parts: Parts, device: str, form: torch.memory_format = torch.contiguous_format
) -> tuple[nn.Module, torch.optim.Optimizer]:
    network = trial.model(parts.input_shape, parts.num_classes).to(device, memory_format=form).train()
    return network, torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM)


def _ordinary(
    trial: Trial, parts: Parts, precision: str, given: Given, form: torch.memory_format = torch.contiguous_format
) -> Callable[[], Any]:
    """Return the ordinary loop over a resident data set."""
    network, optimizer = _network(trial, parts, given.device, form)
    train = parts.train
    order = orders(len(train.targets), trial.batch_size, 1, given.device)

    def epoch() -> None:
        for _ in range(STEPS):
            index = next(order)[0]
            inputs = train.standardized(index).to(memory_format=form)
            optimizer.zero_grad()
            with autocast(_kind(given), enabled=precision == "bf16"):
                loss = F.cross_entropy(network(inputs), train.targets[index])
            loss.backward()
            optimizer.step()

    return epoch


def _roof(
    trial: Trial,
    parts: Parts,
    precision: str,
    given: Given,
    form: torch.memory_format = torch.contiguous_format,
    *,
    benchmark: bool = False,
) -> Callable[[], Any]:
    """Return the forward and backward pass of a fixed batch, and nothing else."""
    network, _ = _network(trial, parts, given.device, form)
    size = trial.batch_size
    inputs = parts.train.standardized(slice(0, size)).to(memory_format=form)
    targets, params = parts.train.targets[:size], list(network.parameters())

    def passes() -> None:
        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=benchmark, allow_tf32=precision != "fp32"),
            autocast(_kind(given), enabled=precision == "bf16"),
        ):
            loss = F.cross_entropy(network(inputs), targets)
            torch.autograd.grad(loss, params)

    return passes


def remedies(name: str, given: Given) -> Iterator[None]:
    """Record what an update takes with each remedy, in parts of the plain update of the same round; TF32 as torch has it."""
    model, shape, batch_size, _ = NETWORKS[name]
    if given.small:
        model, batch_size = ResNet(depth=8, width=2), 64
    about = {"network": name, "batch_size": batch_size, "members": 1, "precision": "torch's default"}
    yield
    found = remedy_cost.active(batch_size)
    if given.small:
        found = {name: found[name] for name in ("sam", "ghost_batch_norm", "gradient_noise")}
    plain = trial_of(model, Pixels(num_train=batch_size, shape=shape), batch_size)
    data = plain.data.load(0)
    parts = on_device(data, given.device)
    running: dict[str, Training] = {"plain": Training(plain, [0], parts)}
    for label, remedy in found.items():
        with given.trying("remedy", label, **about):
            trial = dataclasses.replace(plain, remedies=(remedy,))
            refused = trial.problems() + check_against_data(trial, data)
            if refused:
                given.record("remedy", label, None, "", error=f"left out: {refused[0]}"[:400], **about)
                continue
            running[label] = Training(trial, [0], parts)
            for _ in range(2):
                running[label].advance(1e-9)

    def turn(training: Training) -> float:
        def updates() -> None:
            for _ in range(2):
                training.advance(1e-9)

        return timed(updates, given.device)

    rounds, times = 2 if given.small else 7, {}
    for label in list(running):
        with given.trying("remedy", label, **about):
            pair = {"plain": functools.partial(turn, running["plain"]), label: functools.partial(turn, running[label])}
            times[label] = in_turns(pair, rounds)
            seconds = statistics.median(times[label][label]) / 2
            given.record("remedy", label, 1e3 * seconds, "ms/update", n=rounds, **about)
            if label != "plain":
                ratio = median_ratio(times[label][label], times[label]["plain"])
                given.record("remedy", label, ratio, "x plain", n=rounds, **about)


def share(given: Given) -> Iterator[None]:
    """Record how much of the device a training of C1 takes: of its memory, and of the time in which a kernel runs."""
    yield
    for batch_size in (128, 1024):
        about = {"network": "C1", "batch_size": batch_size, "members": 1, "precision": "torch's default"}
        with given.trying("share", "alone", **about):
            model, size = (ResNet(depth=8, width=2), 4) if given.small else (C1(), batch_size)
            trial = trial_of(model, Pixels(num_train=STEPS * size), size)
            call = _turn(trial, on_device(trial.data.load(0), given.device), "alone")
            if given.on_gpu:
                torch.cuda.reset_peak_memory_stats()
            given.seconds(call)
            busy = _busy(call, given)
            given.record("share of time in kernels", "alone", busy, "share", **about)
            if given.on_gpu:
                peak, total = torch.cuda.max_memory_allocated(), torch.cuda.mem_get_info()[1]
                given.record("peak memory", "alone", peak / 2**20, "MiB", **about)
                given.record("share of memory", "alone", peak / total, "share", **about)


def _busy(call: Callable[[], Any], given: Given) -> float | None:
    """Return the share of the time in which kernels run, of ten calls, by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    if not given.on_gpu:
        return None
    bare = given.seconds(call)[0]
    with profile(activities=[ProfilerActivity.CUDA]) as seen, contextlib.suppress(RuntimeError):
        for _ in range(3):
            call()
        torch.cuda.synchronize()
    kernels = sum(event.self_device_time_total for event in seen.key_averages()) / 3e6
    return kernels / bare
