"""A compiled step as a CUDA graph: recorded once, then replayed with one call in place of one for every kernel."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from tune_lb.training.gradient import Batch, Buffers
from tune_lb.trees import leaves, mapped

Step = Callable[[Buffers, Batch], tuple[Tensor, Buffers]]
Record = Callable[[Callable[[], None]], Callable[[], object]]
"""What runs once -> what runs it again, on the same tensors."""

SWITCH = "TUNE_LB_CUDA_GRAPHS"
"""Environment variable: 0 for steps without graphs."""

WARM_UP = 3
"""Calls before a step is recorded: kernels are loaded and chosen in them."""

MOST = 8
"""Recordings of one program; steps of other shapes are not recorded."""

SLOW_MS = 20.0
"""Milliseconds of a step in which its calls are hidden behind the arithmetic: a graph would only hold memory."""

_pool: list[Any] = []


def are_wanted(device: torch.device) -> bool:
    """Say whether steps on a device are recorded: on a GPU, unless TUNE_LB_CUDA_GRAPHS=0."""
    return device.type == "cuda" and os.environ.get(SWITCH, "1") != "0"


def recorded(once: Callable[[], None]) -> Callable[[], object]:
    """Return the replay of a CUDA graph of a call, which is captured and not run. All graphs share their intermediate memory."""
    if not _pool:
        _pool.append(torch.cuda.graph_pool_handle())
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, pool=_pool[0], capture_error_mode="thread_local"):
        once()
    return graph.replay


class Recordings:
    """Makes a step by its recording, once there is one for batches of such shapes; before, and where there can be none, as it is.

    step: changes `state` in place, and nothing else that a later step depends on; what else it needs it is given. state: those
    tensors, always the same ones. The buffers that come out are the recording's own, and the next call writes into them.
    A recording is used when its first replay has done what the step itself does; otherwise, and where capture fails, the step
    stays as it is, with one warning. Cost: the first three calls are the step's own; the fourth makes it twice, with two copies of
    the state.
    """

    def __init__(self, step: Step, state: Callable[[], list[Tensor]], record: Record | None = None) -> None:
        self.step, self.state, self.record = step, state, record or recorded
        self.refused: str | None = None
        self.calls: dict[object, int] = {}
        self.made: dict[object, _Recording | None] = {}

    def __call__(self, buffers: Buffers, batch: Batch) -> tuple[Tensor, Buffers]:
        """Make a step."""
        if self.refused is not None:
            return self.step(buffers, batch)
        key = _form(buffers, batch)
        recording = self.made.get(key)
        if recording is not None:
            return recording(buffers, batch)
        self.calls[key] = self.calls.get(key, 0) + 1
        if key in self.made or self.calls[key] < WARM_UP or len(self.made) >= MOST:
            return self.step(buffers, batch)
        if self.calls[key] == WARM_UP:
            return self._timed(key, buffers, batch)
        return self._recording(key, buffers, batch)

    def _timed(self, key: object, buffers: Buffers, batch: Batch) -> tuple[Tensor, Buffers]:
        """Make a step; one that takes long is never recorded."""
        if batch.targets.device.type != "cuda":
            return self.step(buffers, batch)
        begun = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        ended = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        begun.record()
        found = self.step(buffers, batch)
        ended.record()
        ended.synchronize()
        if begun.elapsed_time(ended) > SLOW_MS:
            self.made[key] = None
        return found

    def _recording(self, key: object, buffers: Buffers, batch: Batch) -> tuple[Tensor, Buffers]:
        """Record a step, and make it both ways."""
        state, device = self.state(), batch.targets.device
        if batch.is_seeded or any(value.device != device for value in state):
            self._warn("a part of the optimiser's state is kept on the CPU, or the network draws")
            return self.step(buffers, batch)
        recording = _Recording(self.step, buffers, batch)
        before, truth = ([value.clone() for value in state] for _ in range(2))
        # on the recording's tensors, so that nothing is left to compile in the capture
        loss, updated = self.step(recording.buffers, recording.batch)
        updated = {name: value.clone() for name, value in updated.items()}
        _fill(truth, state)
        try:
            recording.replay = self.record(recording.once)
        except Exception as error:  # whatever a step does that cannot be captured: it works without
            self._warn(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
            return loss, updated
        _fill(state, before)
        found, own = recording(buffers, batch)
        pairs = [*zip(state, truth, before, strict=True), (found, loss, torch.zeros_like(loss))]
        pairs += [(own[name], updated[name], buffers[name]) for name in updated]
        if all(_is_same(*each) for each in pairs):
            self.made[key] = recording
            return found, own
        _fill(state, truth)
        self._warn("its replay does something else than the step itself")
        return loss, updated

    def _warn(self, reason: str) -> None:
        self.refused = reason
        self.made.clear()
        warnings.warn(f"steps are made without CUDA graphs: {reason}", RuntimeWarning, stacklevel=2)


class _Recording:
    """A recorded step with the tensors that it reads and writes, which must live as long as it does."""

    def __init__(self, step: Step, buffers: Buffers, batch: Batch) -> None:
        self.step = step
        self.buffers = {name: value.detach().clone() for name, value in buffers.items()}
        self.batch = _copy(batch)
        self.constants: dict[str, Tensor] = {}
        self.loss: Tensor | None = None
        self.replay: Callable[[], object] = self.once

    def once(self) -> None:
        """Make the step on these tensors: what is captured."""
        self.loss, updated = self.step(self.buffers, self.batch)
        for name, value in self.buffers.items():
            if updated[name] is not value:
                value.copy_(updated[name])

    def __call__(self, buffers: Buffers, batch: Batch) -> tuple[Tensor, Buffers]:
        given = [(value, buffers[name]) for name, value in self.buffers.items() if buffers[name] is not value]
        given += zip(_changing(self.batch), _changing(batch), strict=True)
        for name, value in self.batch.values.items():
            # constants of a training: copied when another one comes
            if self.constants.get(name) is not batch.values[name]:
                self.constants[name] = batch.values[name]
                given.append((value, batch.values[name]))
        for dtype in {own.dtype for own, _ in given}:
            pairs = [pair for pair in given if pair[0].dtype == dtype]
            torch._foreach_copy_([own for own, _ in pairs], [new for _, new in pairs])
        self.replay()
        assert self.loss is not None
        return self.loss.clone(), dict(self.buffers)


def _fill(own: list[Tensor], values: list[Tensor]) -> None:
    for one, value in zip(own, values, strict=True):
        one.copy_(value)


def _changing(batch: Batch) -> Iterator[Tensor]:
    """Yield the tensors of a batch that differ from step to step."""
    mappings: tuple[Mapping[str, Tensor], ...] = (batch.draws, batch.examples)
    return itertools.chain(
        leaves(batch.inputs), (batch.targets, batch.step), *([tree[key] for key in sorted(tree)] for tree in mappings)
    )


def _copy(batch: Batch) -> Batch:
    own: dict[str, Any] = {"inputs": mapped(torch.clone, batch.inputs)}
    own |= {name: getattr(batch, name).clone() for name in ("targets", "step")}
    for name in ("draws", "examples", "values"):
        own[name] = {key: value.clone() for key, value in getattr(batch, name).items()}
    return batch._replace(**own)


def _form(buffers: Buffers, batch: Batch) -> object:
    """Return what two steps have in common that one recording makes."""
    trees: tuple[Mapping[str, Tensor], ...] = (buffers, batch.draws, batch.examples, batch.values)
    names = tuple(tuple(sorted(tree)) for tree in trees)
    shapes = tuple((tuple(value.shape), value.dtype) for value in _changing(batch))
    return names, shapes, tuple(sorted(batch.due.items())), batch.is_written


def _is_same(found: Tensor, truth: Tensor, before: Tensor) -> bool:
    """Say whether two results of one step differ by no more than another order of sums explains."""
    if not truth.is_floating_point():
        return torch.equal(found, truth)
    difference, moved = (found - truth).double().norm(), (truth - before).double().norm()
    return bool(difference <= 1e-2 * moved + 1e-5 * truth.double().norm())
