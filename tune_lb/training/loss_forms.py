"""Losses in the forms that users have, as one value per example: torch's loss modules, means over a batch, one value per token.

A mean is taken apart by its own `reduction` where it has one, else by calling it on one example at a time (torch.func.vmap). One
value per token or output is averaged within each example, over what is not ignored. Nothing here looks at values, so a step
can be vectorised and compiled; whether what comes out is right is checked on examples before anything starts (loss_form_problems).
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tune_lb.data.targets import IGNORED
from tune_lb.losses import LossFn
from tune_lb.settings.setting import Settings, setting

OWN = "tune_lb.losses"


@dataclass(frozen=True)
class TorchLoss(Settings):
    """A loss module of torch as a value: nn.CrossEntropyLoss(ignore_index=0) in a space becomes one.

    name: of the class in torch.nn. options: its arguments that are not the defaults, tensors as lists. reduction: as it was given.
    The loss of each example is taken, whatever the reduction; a mean over classes that are weighted is refused, for it is no mean
    over examples.
    """

    name: str = setting("", "class in torch.nn")
    options: tuple[tuple[str, Any], ...] = ()
    reduction: str = setting("mean", "as it was given")

    def __post_init__(self) -> None:
        given = {key: torch.tensor(value) if isinstance(value, tuple) else value for key, value in self.options}
        object.__setattr__(self, "module", getattr(nn, self.name)(**given, reduction="none"))

    @property
    def ignore_index(self) -> int:
        """Return the target that it ignores."""
        return int(getattr(self.module, "ignore_index", IGNORED))  # type: ignore[attr-defined]

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return torch's loss without reduction."""
        module: nn.Module = self.module  # type: ignore[attr-defined]
        for buffer in module._buffers.values():
            if buffer is not None and (buffer.device != outputs.device or buffer.dtype != outputs.dtype):
                module.to(outputs.device, outputs.dtype)
        found: Tensor = module(outputs, targets)
        return found


def as_loss(loss: Any) -> Any:
    """Return a loss module of torch's as a TorchLoss; anything else as it is."""
    if not isinstance(loss, nn.Module) or type(loss).__module__ != "torch.nn.modules.loss":
        return loss
    options = []
    for name, argument in inspect.signature(type(loss).__init__).parameters.items():
        if name in ("self", "size_average", "reduce", "reduction") or not hasattr(loss, name):
            continue
        value = getattr(loss, name)
        value = _nested(value.tolist()) if isinstance(value, Tensor) else value
        if value != argument.default:
            options.append((name, value))
    return TorchLoss(type(loss).__name__, tuple(options), str(getattr(loss, "reduction", "mean")))


def example_loss(loss: LossFn) -> LossFn:
    """Return a loss as one value per example, (outputs, targets) -> (B,); ours are that already, and returned as they are."""
    if getattr(loss, "__module__", "") == OWN or isinstance(loss, ExampleLoss):
        return loss
    return ExampleLoss(loss)


class ExampleLoss:
    """A loss of each example, made of one in any of the forms above."""

    def __init__(self, loss: LossFn) -> None:
        self.loss, self.ignored = loss, ignored_by(loss)
        self.unreduced = _unreduced(loss)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return (B,)."""
        found = self.unreduced(outputs, targets)
        if not isinstance(found, Tensor):
            raise TypeError(f"it returns {type(found).__name__}, not a tensor")
        if found.ndim == 0 and targets.ndim:
            found = torch.func.vmap(self._of_one)(outputs, targets)
        if found.ndim <= 1 or found.shape != targets.shape:
            return found
        if targets.is_floating_point():
            return found.flatten(1).mean(1)
        counted = (targets != self.ignored).to(found.dtype)
        return (found * counted).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp(min=1.0)

    def _of_one(self, output: Tensor, target: Tensor) -> Tensor:
        return self.loss(output[None], target[None])


def ignored_by(loss: LossFn) -> int:
    """Return the target that a loss ignores: its ignore_index, that of its signature, else torch's -100."""
    own = getattr(loss, "ignore_index", None)
    if own is None and isinstance(loss, functools.partial):
        own = loss.keywords.get("ignore_index")
    if own is None:
        own = getattr(_parameters(loss).get("ignore_index"), "default", None)
    return own if isinstance(own, int) and not isinstance(own, bool) else IGNORED


def loss_form_problems(loss: LossFn, outputs: Tensor, targets: Tensor) -> list[str]:
    """Return what is wrong with a loss, tried on outputs of the network's shape and on targets of the data.

    It must give one number per example, (B,), after what example_loss does; that of an example may not depend on the others; and
    where the loss is a mean over the batch, the mean of what is taken apart must be that.
    """
    name = loss.name if isinstance(loss, TorchLoss) else getattr(loss, "__name__", None) or repr(loss)
    shapes = f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"
    if isinstance(loss, type):
        return [f"loss {name}: a class is called with its options, not with outputs; give an instance, {name}()"]
    if isinstance(loss, TorchLoss) and loss.reduction != "none":
        if any(key == "weight" for key, _ in loss.options) and "BCE" not in loss.name and "Multi" not in loss.name:
            return [
                f"loss {name}: with class weights torch divides by the sum of the weights of a batch, no mean over examples; "
                f"give nn.{name}(weight=..., reduction='none')"
            ]
        if loss.reduction == "sum":
            return [f"loss {name}: a sum over the batch grows with it; give nn.{name}(...) with reduction='none'"]
    outputs = outputs.detach().requires_grad_()
    try:
        found = example_loss(loss)(outputs, targets)
    except (TypeError, ValueError, LookupError, RuntimeError, AttributeError, NotImplementedError) as error:
        first = (str(error).strip().splitlines() or [""])[0]
        return [f"loss {name}: cannot be called with {shapes}: {type(error).__name__}: {first}"]
    wanted = f"must return the loss of each example, shape ({len(targets)},), for {shapes}"
    if not isinstance(found, Tensor):
        return [f"loss {name}: {wanted}; it returns {type(found).__name__}"]
    if tuple(found.shape) != (len(targets),):
        return [
            f"loss {name}: {wanted}; it returns shape {tuple(found.shape)}: outputs and targets must be of one shape"
        ]
    if not found.is_floating_point():
        return [f"loss {name}: {wanted}; it returns {found.dtype}, which has no gradient"]
    if not found.requires_grad:
        return [f"loss {name}: it has no gradient in the outputs: it may not detach them or take their argmax"]
    return _inconsistent(loss, name, found.detach(), outputs.detach(), targets)


def _inconsistent(loss: LossFn, name: str, found: Tensor, outputs: Tensor, targets: Tensor) -> list[str]:
    alone = torch.cat([example_loss(loss)(outputs[i : i + 1], targets[i : i + 1]) for i in range(len(targets))])
    if not torch.allclose(found, alone, rtol=1e-4, atol=1e-5, equal_nan=True):
        return [
            f"loss {name}: the loss of an example is {float(alone[0]):.6g} alone and {float(found[0]):.6g} among others; it must "
            "not look across examples"
        ]
    whole = loss(outputs, targets)
    ragged = not targets.is_floating_point() and targets.ndim > 1
    if whole.ndim or ragged or torch.allclose(whole.detach(), found.mean(), rtol=1e-4, atol=1e-5, equal_nan=True):
        return []
    return [
        f"loss {name}: it gives {float(whole):.6g} for {len(targets)} examples, and the mean of their losses is "
        f"{float(found.mean()):.6g}: give the loss of each example (reduction='none')"
    ]


def _nested(value: Any) -> Any:
    return tuple(map(_nested, value)) if isinstance(value, list) else value


def _parameters(loss: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(loss).parameters)
    except (TypeError, ValueError):
        return {}


def _unreduced(loss: LossFn) -> Callable[[Tensor, Tensor], Any]:
    """Return the loss without its reduction to a mean, where it has one that can be turned off."""
    if isinstance(loss, functools.partial) and loss.keywords.get("reduction", "mean") != "mean":
        return loss
    if isinstance(loss, nn.Module) and getattr(loss, "reduction", None) == "mean":
        own = copy.copy(loss)
        own.reduction = "none"  # type: ignore[assignment]
        return own
    if not isinstance(loss, nn.Module) and getattr(_parameters(loss).get("reduction"), "default", None) == "mean":
        return functools.partial(loss, reduction="none")  # type: ignore[call-arg]
    return loss
