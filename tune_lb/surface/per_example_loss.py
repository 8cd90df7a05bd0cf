"""Losses of single examples made of the losses that torch users have, which are means over a batch."""

from __future__ import annotations

import copy
import functools
import inspect
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tune_lb.errors import RequestError
from tune_lb.losses import LossFn

ADVICE = "give a function that returns one loss for each example, or a loss that is their plain mean"


class PerExample:
    """A loss of each example, (outputs (B, ...), targets (B, ...)) -> (B,), whatever form the loss was given in.

    loss: such a function already; or one that returns the mean over the batch as a scalar: nn.CrossEntropyLoss(),
    F.mse_loss, any function of the user's. A mean is taken apart by its own `reduction` where it has one (losses of
    several outputs of an example are averaged), else by calling it on one example at a time under torch.func.vmap.
    What comes out is checked once, on the first chunk: its mean must be the scalar that the loss gives for the
    whole chunk. Sums, class weights, ignored targets and losses that look across examples fail that and raise
    RequestError, since their mean over all data is not a mean of parts.
    """

    def __init__(self, loss: LossFn) -> None:
        if not callable(loss) or isinstance(loss, type):
            raise RequestError(f"loss {loss!r}: give a function or an instance, as in nn.CrossEntropyLoss()")
        self.loss = loss
        self._form: LossFn | None = None

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the losses (B,)."""
        if self._form is None:
            with torch.no_grad():
                self._form = self._found(outputs.detach(), targets)
        return self._form(outputs, targets)

    def _found(self, outputs: Tensor, targets: Tensor) -> LossFn:
        with warnings.catch_warnings():
            # torch warns of shapes that are broadcast: they are refused below, by both shapes
            warnings.filterwarnings("ignore", message="Using a target size")
            whole = self.loss(outputs, targets)
            if not isinstance(whole, Tensor) or (whole.dim() and whole.shape != (len(targets),)):
                shape = tuple(whole.shape) if isinstance(whole, Tensor) else type(whole).__name__
                raise RequestError(f"the loss returned {shape} for {_shapes(outputs, targets)}: {ADVICE}")
            if (
                isinstance(self.loss, nn.CrossEntropyLoss | nn.NLLLoss)
                and self.loss.weight is not None
                and not whole.dim()
            ):
                raise RequestError(f"the loss has class weights, so it is no plain mean over examples: {ADVICE}")
            form = self.loss if whole.dim() else _unreduced(self.loss) or _one_at_a_time(self.loss)
            try:
                single = form(outputs, targets)
                half = -(-len(targets) // 2)
                halves = [form(outputs[at], targets[at]) for at in (slice(half), slice(half, None)) if len(targets[at])]
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:200]
                raise RequestError(f"the loss cannot be taken apart into examples ({reason}): {ADVICE}") from error
        tolerance = 1e-4 if single.dtype == torch.float32 else 1e-8
        close = functools.partial(torch.allclose, rtol=tolerance, atol=tolerance * 1e-3, equal_nan=True)
        if single.shape != (len(targets),) or not close(single.double().mean(), whole.double().mean()):
            mean = float(single.double().mean())
            raise RequestError(
                f"the loss of {len(targets)} examples is {float(whole.double().mean()):.6g}, the mean of their losses {mean:.6g}: "
                f"{ADVICE}"
            )
        if not close(single.double(), torch.cat(halves).double()):
            where = _shapes(outputs, targets) + _broadcast(outputs, targets)
            raise RequestError(f"the loss of an example depends on the others beside it, for {where}")
        return form


def _shapes(outputs: Tensor, targets: Tensor) -> str:
    return f"{len(targets)} examples, outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"


def _broadcast(outputs: Tensor, targets: Tensor) -> str:
    if outputs.numel() == targets.numel() and outputs.shape != targets.shape:
        return f": each is held against all; give targets of shape {tuple(outputs.shape)}, or outputs of {tuple(targets.shape)}"
    return f": {ADVICE}"


def _unreduced(loss: LossFn) -> LossFn | None:
    if isinstance(loss, nn.Module):
        if not hasattr(loss, "reduction"):
            return None
        unreduced: Callable[[Tensor, Tensor], Tensor] = copy.copy(loss)
        unreduced.reduction = "none"  # type: ignore[attr-defined]
        ignored = getattr(loss, "ignore_index", None)
    else:
        try:
            known = inspect.signature(loss).parameters
        except (TypeError, ValueError):
            return None
        if "reduction" not in known:
            return None
        unreduced = functools.partial(loss, reduction="none")  # type: ignore[call-arg]
        ignored = known["ignore_index"].default if "ignore_index" in known else None

    def of_each(outputs: Tensor, targets: Tensor) -> Tensor:
        if ignored is not None and not targets.is_floating_point() and bool((targets == ignored).any()):
            raise RequestError(f"some targets are {ignored}, which the loss ignores: leave those examples out")
        losses = unreduced(outputs, targets)
        return losses.flatten(1).mean(1) if losses.dim() > 1 else losses

    return of_each


def _one_at_a_time(loss: LossFn) -> LossFn:
    def of_one(output: Tensor, target: Tensor) -> Tensor:
        return loss(output[None], target[None])

    return torch.func.vmap(of_one)
