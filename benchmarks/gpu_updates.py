"""What an update of one member takes: alone, together, compiled, as a CUDA graph; beside the ordinary loop and a stack by hand."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from gpu_rows import LR, MOMENTUM, Given, Pixels, orders, trial_of
from torch import Tensor, nn

from tune_lb.data.device import Parts, on_device
from tune_lb.data.digits import Digits
from tune_lb.models.mlp import F1, MLP
from tune_lb.training.compiled_step import CompiledStep
from tune_lb.training.compiled_step import _programs as programs
from tune_lb.training.cuda_graph import SWITCH
from tune_lb.training.gradient import Batch
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial
from tune_lb.tuning.compiling import can_compile

DIGITS = Digits(num_train=400, num_validation=400)
NETWORKS: dict[str, tuple[MLP, Any, int]] = {
    "quickstart, B = 20": (MLP(hidden=(128, 128, 128)), DIGITS, 20),
    "quickstart, B = 400": (MLP(hidden=(128, 128, 128)), DIGITS, 400),
    "F1, B = 256": (F1(), Pixels(num_train=4096, shape=(784,)), 256),
}
LARGE = 200_000_000
"""Weights of a stack above which some ways are left out."""


def measure(name: str, members: int, given: Given) -> Iterator[None]:
    """Record milliseconds per update and member of every way, the compiled ones compiled before the clock runs."""
    model, data, batch_size = NETWORKS[name]
    if given.small:
        model, members = dataclasses.replace(model, hidden=(8, 8)), min(members, 2)
        data, batch_size = Pixels(num_train=32, shape=(16,)), 16
    trial = trial_of(model, data, batch_size)
    parts = on_device(trial.data.load(0), given.device)
    about = {"network": name.partition(",")[0], "batch_size": batch_size, "members": members, "precision": "fp32"}
    calls: dict[str, tuple[Callable[[], Any], float]] = {}
    ours = ("alone", "plain") if members == 1 else ("together",)
    # every way holds its own weights: of the largest stack only the ways that matter, for all wait on one device
    large = sum(math.prod(pair) for pair in itertools.pairwise(model.hidden)) * members > LARGE
    compiled = "compiled_alone" if members == 1 else "compiled_together"
    trying = functools.partial(given.trying, "update", **about)
    for way in (*ours, compiled, f"{compiled}, no graph"):
        if way.startswith(compiled) and (given.small or not can_compile(torch.device(given.device))):
            given.record("update", way, None, "", error="left out: no compiler, or a stand-in", **about)
            continue
        with trying(way):
            os.environ[SWITCH] = "0" if way.endswith("no graph") else "1"
            programs.clear()
            calls[way] = training_call(Training(trial, range(members), parts, execution=way.partition(",")[0]))
    with trying("batches alone"):
        training = Training(trial, range(members), parts, execution=ours[0])
        calls["batches alone"] = (functools.partial(batches, training), steps_of(training))
    if given.on_gpu:
        with trying(f"graph of {compiled}"):
            found, steps = graphed(trial, parts, members, compiled)
            calls |= {f"graph of {compiled}{label}": (call, steps) for label, call in found.items()}
    if members == 1:
        for way, options in {"ordinary": {}, "ordinary, fused": {"fused": True}}.items():
            with trying(way):
                calls[way] = ordinary(trial, parts, given.device, **options)
    if not large:
        with trying("stack by hand"):
            calls["stack by hand"] = by_hand(model, parts, batch_size, members, given.device, graph=False)
    if given.on_gpu:
        with trying("stack by hand, graph"):
            calls["stack by hand, graph"] = by_hand(model, parts, batch_size, members, given.device, graph=True)
    given.synchronize()
    yield
    for way, (call, steps) in calls.items():
        with trying(way):
            seconds, number = given.seconds(call)
            given.record("update", way, 1e3 * seconds / steps / members, "ms/update/member", n=number, **about)


def steps_of(training: Training) -> int:
    """Return the updates of an epoch."""
    return max(1, training.next_stop(1.0))


def training_call(training: Training) -> tuple[Callable[[], Any], float]:
    """Return what trains for an epoch, after the first (which compiles), and its updates."""
    training.advance(1.0)
    steps = training.next_stop(1.0) - training.step
    return functools.partial(training.advance, 1.0), steps


def batches(training: Training) -> None:
    """Make the batches of an epoch, and no step."""
    group = training.groups[0]
    for step in range(steps_of(training)):
        group.step = step
        training._next(group)
    group.step = 0


def graphed(trial: Trial, parts: Parts, members: int, way: str) -> tuple[dict[str, Callable[[], Any]], float]:
    """Return replays of a CUDA graph of tune_lb's own step, with its own batches copied into the graph's, and with none.

    The compiled step alone: an eager one takes its rate as a number, which a graph would keep, or as a tensor that torch.optim's
    foreach form waits for, which a capture forbids.
    """
    training = Training(trial, range(members), parts, execution=way.removeprefix("compiled_"))
    group = training.groups[0]
    program = CompiledStep(trial, group, members_first=training.stacked)
    program.load(group.params, group.optimizer)
    program.rate.fill_(LR)
    batch, buffers = static(training._next(group)[1]), {k: v.clone() for k, v in group.buffers.items()}

    def once() -> None:
        with torch.no_grad():
            _, updated = program.compiled(program.params, buffers, batch, program.rate)
            for name, value in buffers.items():
                value.copy_(updated[name])

    graph = captured(once)
    steps = steps_of(training)

    def with_batches() -> None:
        for number in range(steps):
            group.step = number
            copy_into(batch, training._next(group)[1])
            graph.replay()

    def without() -> None:
        for _ in range(steps):
            graph.replay()

    # a graph writes to the tensors it was captured with, and keeps none of them: freed, they would be another's
    without.kept = with_batches.kept = once  # type: ignore[attr-defined]
    return {"": with_batches, ", no batches": without}, steps


def captured(once: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """Return the graph of a call, after three that warm up on a stream of their own."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            once()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        once()
    return graph


def static(batch: Batch) -> Batch:
    """Return a batch whose tensors are its own."""
    own: dict[str, Any] = {name: getattr(batch, name).clone() for name in ("inputs", "targets", "step")}
    own |= {name: {k: v.clone() for k, v in getattr(batch, name).items()} for name in ("draws", "examples")}
    return batch._replace(**own)


def copy_into(batch: Batch, new: Batch) -> None:
    """Let the tensors of a batch hold another."""
    for name in ("inputs", "targets", "step"):
        getattr(batch, name).copy_(getattr(new, name))
    for name in ("draws", "examples"):
        tree: Mapping[str, Tensor] = getattr(batch, name)
        for key, value in tree.items():
            value.copy_(getattr(new, name)[key])


def ordinary(trial: Trial, parts: Parts, device: str, **options: Any) -> tuple[Callable[[], Any], float]:
    """Return the ordinary loop on a resident data set: one member, torch.optim.SGD."""
    train, batch_size = parts.train, trial.batch_size
    network = trial.model(parts.input_shape, parts.num_classes).to(device).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM, **options)
    order = orders(len(train.targets), batch_size, 1, device)
    steps = len(train.targets) // batch_size

    def epoch() -> None:
        for _ in range(steps):
            index = next(order)[0]
            optimizer.zero_grad()
            F.cross_entropy(network(train.standardized(index)), train.targets[index]).backward()
            optimizer.step()

    epoch()
    return epoch, steps


def by_hand(
    model: MLP, parts: Parts, batch_size: int, members: int, device: str, *, graph: bool
) -> tuple[Callable[[], Any], float]:
    """Return the same network of all members written as batched matrix products, eager or as one CUDA graph: the roof."""
    train = parts.train
    widths = [math.prod(parts.input_shape), *model.hidden, parts.num_classes]
    weights, scales, shifts = [], [], []
    for fan_in, fan_out in itertools.pairwise(widths):
        weights.append(nn.Parameter(torch.randn(members, fan_in, fan_out, device=device) / fan_in**0.5))
        scales.append(nn.Parameter(torch.ones(members * fan_out, device=device)))
        shifts.append(nn.Parameter(torch.zeros(members * fan_out, device=device)))
    means = [torch.zeros(members * width, device=device) for width in model.hidden]
    variances = [torch.ones(members * width, device=device) for width in model.hidden]
    bias = nn.Parameter(torch.zeros(members, 1, widths[-1], device=device))
    params = [*weights, *scales[:-1], *shifts[:-1], bias]
    optimizer = torch.optim.SGD(params, lr=LR, momentum=MOMENTUM, foreach=True)
    order = orders(len(train.targets), batch_size, members, device)
    steps = len(train.targets) // batch_size
    index = next(order).clone()

    def update() -> None:
        x = train.standardized(index.flatten()).reshape(members, batch_size, -1)
        for layer in range(len(model.hidden)):
            flat = torch.bmm(x, weights[layer]).transpose(0, 1).reshape(batch_size, -1)
            flat = F.batch_norm(
                flat, means[layer], variances[layer], scales[layer], shifts[layer], training=True, momentum=0.1
            )
            x = F.relu(flat).view(batch_size, members, -1).transpose(0, 1)
        logits = torch.baddbmm(bias, x, weights[-1]).flatten(0, 1)
        loss = F.cross_entropy(logits, train.targets[index.flatten()], reduction="sum") / batch_size
        for parameter, gradient in zip(params, torch.autograd.grad(loss, params), strict=True):
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
            parameter.grad.copy_(gradient)
        optimizer.step()

    run: Callable[[], object] = captured(update).replay if graph else update

    def epoch() -> None:
        for _ in range(steps):
            index.copy_(next(order))
            run()

    epoch()
    return epoch, steps
