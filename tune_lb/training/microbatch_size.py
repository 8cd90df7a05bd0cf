"""How many examples go through the network at a time, found on the device before training starts."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from tune_lb.data.device import Parts
from tune_lb.errors import RequestError
from tune_lb.training.compiled_step import program_key
from tune_lb.training.microbatches import PROBED, microbatch_problems
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial
from tune_lb.training.ways import AUTO

_found: dict[str, int | None] = {}


def chosen_size(
    trial: Trial,
    seeds: Sequence[int],
    parts: Parts,
    asked: int | str | None,
    *,
    execution: str = "alone",
    dtype: torch.dtype = torch.float32,
) -> int | None:
    """Return the examples that go through the network of a training at a time; None: the whole batch.

    asked: a number, which is refused (RequestError) where gradients would not be the same; None; or "auto": the whole batch
    on a CPU; on a GPU as many as fit, found by making an update of so many before training starts, once in a process for
    the trials that could share a compiled step. Raises torch.OutOfMemoryError where nothing fits.
    """
    num_train, device, shape = len(parts.train), parts.train.device, parts.input_shape
    if asked is None or (asked == AUTO and not is_limited(device)):
        return None
    with torch.random.fork_rng(devices=[]):
        module = trial.network(shape, parts.num_classes)
    some = parts.train.standardized(slice(0, PROBED))
    if asked != AUTO:
        problems = microbatch_problems(trial, int(asked), num_train, module, shape, some)
        if problems:
            raise RequestError([f"arm {trial.arm!r}: {problem}" for problem in problems])
        return int(asked)
    members = list(seeds) if execution.endswith("together") else list(seeds[:1])

    def make_update(size: int | None) -> None:
        # a compiled step takes no more memory, and compiling one for every size takes long
        way = execution.removeprefix("compiled_")
        rehearse(Training(trial, members, parts, execution=way, dtype=dtype, microbatch=size))

    key = _key(trial, seeds, parts, execution, dtype)
    if key not in _found:
        largest, refused = max(trial.plan(num_train).batch_sizes), list[str]()
        sizes = _sizes(trial, parts, module, refused)
        _found[key] = largest_that_fits(sizes, make_update, f"a batch of {largest} examples", refused)
    return _found[key]


def take_smaller(
    trial: Trial,
    seeds: Sequence[int],
    parts: Parts,
    asked: int | str | None,
    *,
    execution: str = "alone",
    dtype: torch.dtype = torch.float32,
) -> bool:
    """Let trainings such as this one, which ran out of memory, take the next smaller microbatch from now on, in this process.

    The gradient is the same up to rounding. Returns whether there is a smaller one: not where a size was asked for, nor on a CPU.
    """
    if asked != AUTO or not is_limited(parts.train.device):
        return False
    taken = False
    for phase in trial.in_phases():
        with torch.random.fork_rng(devices=[]):
            module = phase.network(parts.input_shape, parts.num_classes)
        key = _key(phase, seeds, parts, execution, dtype)
        if key not in _found:
            continue  # all were tried before it began
        now = _found[key]
        smaller = (
            size for size in _sizes(phase, parts, module, []) if size is not None and (now is None or size < now)
        )
        if (size := next(smaller, None)) is not None:
            _found[key], taken = size, True
    return taken


def _key(trial: Trial, seeds: Sequence[int], parts: Parts, execution: str, dtype: torch.dtype) -> str:
    """Return what trainings have in common that take the same memory."""
    members = len(seeds) if execution.endswith("together") else 1
    sizes, device = sorted(trial.plan(len(parts.train)).batch_sizes), parts.train.device
    return program_key(trial, execution, members, sizes, parts.input_shape, parts.num_classes, device, dtype)


def _sizes(trial: Trial, parts: Parts, module: nn.Module, refused: list[str]) -> Iterable[int | None]:
    """Yield the whole batch and its microbatches with the same gradient, the largest first; why others have not, in refused."""
    yield None
    num_train, some = len(parts.train), parts.train.standardized(slice(0, PROBED))
    last = largest = max(trial.plan(num_train).batch_sizes)
    for size in range(largest // 2, 0, -1):
        if largest % size == 0 and 2 * size <= last:
            problems = microbatch_problems(trial, size, num_train, module, parts.input_shape, some)
            refused[:] = refused or problems
            if not problems:
                yield size
                last = size


def largest_that_fits(
    sizes: Iterable[int | None], attempt: Callable[[int | None], None], what: str, refused: Sequence[str] = ()
) -> int | None:
    """Return the first size whose attempt does not run out of memory. Raises torch.OutOfMemoryError, with what, for none.

    refused: why other sizes are not among them; read when all are tried.
    """
    last: int | None = None
    for size in sizes:
        try:
            attempt(size)
        except torch.OutOfMemoryError:
            last = size
        else:
            return size
        finally:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    rest = f"nor do microbatches of {last}" if last is not None else "; ".join(refused[:1]) or "it has no parts"
    raise torch.OutOfMemoryError(f"{what} does not fit into the memory of the device: {rest}")


def is_limited(device: torch.device) -> bool:
    """Say whether running out of the device's memory is an error that can be caught."""
    return device.type == "cuda"


def rehearse(training: Training) -> None:
    """Make the updates of a training that need the most memory: the first, and the first of the largest batch. It is spoilt."""
    plan = training.plan
    sizes = [plan.position(step).batch_size for step in range(plan.num_updates)]
    for step in sorted({0, sizes.index(max(sizes))}):
        training.groups[0].step = step
        training.advance(1e-9)
    if training.device.type == "cuda":
        torch.cuda.synchronize(training.device)
