"""Microbatches: whether a batch may go through the network in parts, and how large these can be on a device.

The parts themselves are `tune_lb.pieces.over_microbatches`.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tune_lb.errors import RequestError
from tune_lb.gradient import DROPOUT_KEY
from tune_lb.pieces import divisors, normalizes_by_batch
from tune_lb.program import program_key
from tune_lb.remedy import Evaluation

if TYPE_CHECKING:
    from tune_lb.data.dataset import DataSet
    from tune_lb.training import Training
    from tune_lb.trial import Trial

AUTO = "auto"

PROBED = 4
"""Examples on which is seen whether what a network gives for one hangs on the others."""

_found: dict[str, int | None] = {}


def microbatch_problems(
    trial: Trial, microbatch: int, num_train: int, module: nn.Module, shape: Sequence[int]
) -> list[str]:
    """Return why the trial's gradients are not the same when they are taken from parts of so many examples.

    They are where no layer lets examples see one another, and where batch norm is by ghost groups that stay whole. module:
    the plain network, of whose batch norms ghost ones are made. shape: that of one example.
    """
    lengths = _lengths(trial, num_train)
    if all(length <= microbatch for _, length in lengths):
        return []
    what = f"microbatch = {microbatch}"
    found = [
        f"{what} does not divide {name} = {length}; {divisors(length)}"
        for name, length in lengths
        if length > microbatch and length % microbatch
    ]
    ghost = {remedy.module_name(): remedy for remedy in trial.active}.get("ghost_batch_norm")
    if normalizes_by_batch(module):
        if ghost is None:
            found.append(
                f"{what}: the network normalizes with statistics of the whole batch, which its parts do not have; add "
                "ghost_batch_norm, whose groups can stay whole, or take another normalization, or leave microbatch out"
            )
        else:
            size, statistics = (getattr(ghost, name) for name in ("ghost_batch_size", "statistics"))
            if microbatch % size:
                found.append(
                    f"{what} is no multiple of ghost_batch_norm.ghost_batch_size = {size}: groups would be cut; multiples "
                    f"that divide batch_size: {_multiples(trial.batch_size, size)}"
                )
            if statistics != "average":
                found.append(
                    f"{what}: ghost_batch_norm.statistics = {statistics!r} updates group after group of the whole batch; "
                    "take 'average'"
                )
    if not found and mixes_examples(module, shape):
        found.append(
            f"{what}: what the network gives for an example hangs on the others of the batch, or on random numbers of its own "
            "(dropout: wrap the network in tune_lb.models.dropout.keyed); leave microbatch out"
        )
    return found


def asked_problems(trial: Trial, data: DataSet, microbatch: int | str | None, where: str) -> list[str]:
    """Return why parts of the size that is asked for would not give the same gradients, in any phase of the trial."""
    if microbatch is None or isinstance(microbatch, str):
        return []
    with torch.random.fork_rng(devices=[]):
        module = trial.network(data.input_shape, data.num_classes)
    given = (microbatch, len(data.train.targets), module, data.input_shape)
    found = [problem for phase in trial.in_phases() for problem in microbatch_problems(phase, *given)]
    return [f"{where}: {problem}" for problem in dict.fromkeys(found)]


def _lengths(trial: Trial, num_train: int) -> list[tuple[str, int]]:
    """Return the numbers of examples of which gradients are taken, each with its column."""
    whole = not any(remedy.always_in_pieces for remedy in trial.active)
    lengths = [("batch_size", size) for size in sorted(trial.plan(num_train).batch_sizes) if whole]
    for remedy in trial.active:
        if remedy.nesting is Evaluation.RESULT:
            lengths += remedy.piece_sizes().items()
    for remedy in trial.active:
        pieces = list(remedy.piece_sizes().items())
        if remedy.nesting is Evaluation.POINT and pieces:
            # with plain steps in between the whole batch is taken too
            lengths = pieces if getattr(remedy, "every", 1) == 1 else lengths + pieces
    return lengths


def _multiples(batch_size: int, size: int) -> str:
    return ", ".join(str(b) for b in range(size, batch_size + 1, size) if batch_size % b == 0)


def mixes_examples(module: nn.Module, shape: Sequence[int]) -> bool:
    """Say whether the network in training mode, batch norm apart, gives for an example what hangs on the rest of the batch.

    Seen on a copy, from random inputs taken together and in two halves: outputs, and buffers after the pass. Random numbers
    that the network draws by itself show as well. The random state is left as it was.
    """
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(PROBED, *shape, generator=generator, dtype=torch.float64)
    keys = torch.randint(1 << 62, (PROBED,), generator=generator)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        (whole, after), *halves = (
            _passed(module, inputs[part], keys[part]) for part in (slice(None), slice(0, None, 2), slice(1, None, 2))
        )
    together = torch.stack([outputs for outputs, _ in halves], 1).flatten(0, 1)
    means = {name: torch.stack([buffers[name] for _, buffers in halves]).mean(0) for name in after}
    pairs = [(whole, together), *((after[name], means[name]) for name in after)]
    return not all(torch.allclose(a, b, rtol=1e-6, atol=1e-9, equal_nan=True) for a, b in pairs)


def _passed(module: nn.Module, inputs: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    network = copy.deepcopy(module).cpu().double().train()
    for part in network.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.forward = _unchanged  # type: ignore[assignment,method-assign]
        if DROPOUT_KEY in part._buffers:
            part._buffers[DROPOUT_KEY] = keys
    outputs: Tensor = network(inputs)
    return outputs, {name: value for name, value in network.named_buffers() if value.is_floating_point()}


def _unchanged(inputs: Tensor) -> Tensor:
    return inputs


def chosen_microbatch(training: Training, seeds: Sequence[int], asked: int | str | None) -> int | None:
    """Return the examples that go through the network of a training at a time; None: the whole batch.

    asked: a number, which is refused (RequestError) where gradients would not be the same; None; or "auto": the whole batch
    on a CPU; on a GPU as many as fit, found by making an update of so many before training starts, once in a process for
    the trials that could share a compiled step. Raises torch.OutOfMemoryError where nothing fits.
    """
    trial, num_train, module = training.trial, training.plan.num_train, training.evaluation_module
    shape = training.parts.input_shape
    if asked is None or (asked == AUTO and not is_limited(training.device)):
        return None
    if asked != AUTO:
        problems = microbatch_problems(trial, int(asked), num_train, module, shape)
        if problems:
            raise RequestError([f"arm {trial.arm!r}: {problem}" for problem in problems])
        return int(asked)

    def make_update(size: int | None) -> None:
        # a compiled step takes no more memory, and compiling one for every size takes long
        way, dtype = training.execution.removeprefix("compiled_"), training.dtype
        rehearse(type(training)(trial, list(seeds), training.parts, execution=way, dtype=dtype, microbatch=size))

    facts = (len(seeds), sorted(training.plan.batch_sizes), shape, training.parts.num_classes, training.device)
    key = program_key(trial, training.execution, *facts, training.dtype)
    if key not in _found:
        largest = max(training.plan.batch_sizes)
        refused: list[str] = []

        def sizes() -> Iterable[int | None]:
            yield None
            last = largest
            for size in range(largest // 2, 0, -1):
                if largest % size == 0 and 2 * size <= last:
                    problems = microbatch_problems(trial, size, num_train, module, shape)
                    refused[:] = refused or problems
                    if not problems:
                        yield size
                        last = size

        _found[key] = largest_that_fits(sizes(), make_update, f"a batch of {largest} examples", refused)
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
