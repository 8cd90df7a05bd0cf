"""How many examples go through the network at a time, found on the device before training starts."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence

import torch

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

    sizes = trial.plan(num_train).batch_sizes
    key = program_key(trial, execution, len(members), sorted(sizes), shape, parts.num_classes, device, dtype)
    if key not in _found:
        largest = max(sizes)
        refused: list[str] = []

        def parts_of_largest() -> Iterable[int | None]:
            yield None
            last = largest
            for size in range(largest // 2, 0, -1):
                if largest % size == 0 and 2 * size <= last:
                    problems = microbatch_problems(trial, size, num_train, module, shape, some)
                    refused[:] = refused or problems
                    if not problems:
                        yield size
                        last = size

        _found[key] = largest_that_fits(parts_of_largest(), make_update, f"a batch of {largest} examples", refused)
    return _found[key]


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
