"""The update of stacked members compiled whole: one program for all stacks of the same shapes and size."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tune_lb.optimizers.member_formulas import Numbers, State
from tune_lb.optimizers.of_members import move_all
from tune_lb.optimizers.settings import OptimizerSettings
from tune_lb.training.compiled_step import compiled_step, quiet_compiler
from tune_lb.training.gradient import Batch, Buffers, GradientFn, Params
from tune_lb.training.remedy import overrides
from tune_lb.training.stacking import program_of_stack
from tune_lb.training.step import composed_gradient
from tune_lb.training.training import Training


class CompiledStack:
    """An update of so many stacked members as one compiled program (torch.compile).

    Rates and settings of the members enter as tensors, their weights and the optimiser's state are changed in place. Where the
    first call fails (no compiler, a network that it does not take) there is one warning, and stacks are advanced eagerly.
    Cost: the first call compiles (10 to 50 s; a third of it where the compiler's cache has the program).
    """

    def __init__(self, gradient: GradientFn, kind: OptimizerSettings, backend: str = "inductor") -> None:
        self.gradient, self.kind = gradient, kind
        self.works: bool | None = None
        """None before the first call."""
        quiet_compiler()
        self.compiled: Callable[..., tuple[Tensor, Buffers]] = torch.compile(self._step, dynamic=False, backend=backend)

    def __call__(
        self,
        params: Params,
        buffers: Buffers,
        state: Mapping[str, State],
        batch: Batch,
        numbers: Sequence[tuple[Sequence[str], Numbers]],
    ) -> tuple[Tensor, Buffers] | None:
        """Make an update and return losses and buffers; nothing, and nothing is changed, where it cannot be compiled."""
        if self.works is False:
            return None
        try:
            with torch.no_grad():
                found = self.compiled(params, buffers, state, batch, numbers)
        except Exception as error:  # whatever the compiler says of code of the user's: eagerly it works
            if self.works:
                raise
            self.works = False
            # the first line alone may name the compiler and not what it says
            reason = " ".join(str(error).split("\n")[:2]).strip()[:200] or type(error).__name__
            warnings.warn(f"members train together, but not compiled: {reason}", RuntimeWarning, stacklevel=2)
            return None
        self.works = True
        return found

    def _step(
        self,
        params: Params,
        buffers: Buffers,
        state: Mapping[str, State],
        batch: Batch,
        numbers: Sequence[tuple[Sequence[str], Numbers]],
    ) -> tuple[Tensor, Buffers]:
        loss, gradients, updated = self.gradient(params, buffers, batch)
        move_all(self.kind, numbers, params, gradients, state)
        return loss, updated


def compiled_stack(training: Training, size: int) -> CompiledStack | None:
    """Return the program of stacks of such trainings, made at its first use in this process; None where none can be made.

    A remedy that makes several updates of one has no such program; on a GPU there is none yet.
    """
    if any(overrides(remedy, hook) for remedy in training.remedies for hook in ("step", "update")):
        return None
    if training.device.type != "cpu":
        return None
    key = json.dumps(["compiled_stack", size, training.plan.position(0).batch_size, program_of_stack(training)])

    def make() -> Any:
        module = training.networks.fresh("training")
        options: dict[str, Any] = {"stacked": True, "many": True, "microbatch": training.microbatch}
        gradient = composed_gradient(training.trial, module, "compiled_together", **options)
        return CompiledStack(gradient, training.trial.optimizer)

    found: CompiledStack = compiled_step(key, make)
    return found
