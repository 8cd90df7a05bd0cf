"""Adaptive linearization: rectifiers with a slope below 0, moved by the sign of the dominant eigenvector's entry for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tune_lb.errors import RequestError
from tune_lb.schedules import Position
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, Buffers, GradientFn, Params
from tune_lb.training.remedy import Nesting, Remedy, TrialFacts

SLOPE = "linearization_slope"


@dataclass(frozen=True)
class AdaptiveLinearization(Remedy):
    """Give every rectifier a slope s in [0, 1] below 0 and move it away from curvature: 0 is the rectifier, 1 a linear layer.

    y = x for x > 0, else s x. Every so many updates, before the update: v = the eigenvector of the largest eigenvalue of the
    batch loss' Hessian in (weights, slopes), training mode; for each slope s <- s - delta_minus where its entry of v is
    positive, else s + delta_plus; then s is cut to [0, 1]. Between, s is constant; no optimiser moves it.
    The slopes are part of the network: it is evaluated and measured with them, and they are stored with its buffers.

    An eigenvector has no sign; orientation gives it one, and is in the row: "gradient": <gradient, v> >= 0 over (weights,
    slopes), so that a positive entry means the loss rises with s along v; "largest": the largest entry in size is positive.
    v comes from so many Lanczos steps from the gradient, each product H u a central difference of gradients.

    Source: Hynes, "Towards Mini-Error with Maxi-Batch SGD", section 2.5 (delta_minus 0.1, delta_plus 0.02, 0.05 or 1).
    Orientation, start and the time between moves are not in the paper; it found lower early lambda_max and a smaller gap at
    slightly lower accuracy.
    Neutral: start = 0 and delta_plus = 0: slopes that begin at 0 and never rise stay there.
    Cost: 2 products more gradients every so many updates. Needs nn.ReLU modules, and refuses a network in which a rectifier is
    no module (F.relu, clamp at 0), which would stay as it is; not with SAM or penalties: v is the loss'.
    """

    name: ClassVar[str] = "adaptive_linearization"

    differentiates_gradients: ClassVar[bool] = True

    delta_plus: float = setting(0.0, "added to a slope", low=0.0, high=1.0, suggested=over(0.01, 0.2, log=True))
    delta_minus: float = setting(0.1, "subtracted from a slope", low=0.0, high=1.0)
    start: float = setting(
        0.0, "slope at the start; 0 is a rectifier", low=0.0, high=1.0, suggested=over([0.0, 0.5, 1.0])
    )
    granularity: str = setting(
        "layer",
        "which rectifiers share a slope: all of a layer, or those of a unit (a channel of a convolution)",
        one_of=("layer", "unit"),
    )
    orientation: str = setting(
        "gradient",
        "which sign an eigenvector has: <gradient, v> >= 0, or the largest entry positive",
        one_of=("gradient", "largest"),
    )
    every: int = setting(50, "updates from one move to the next", low=1)
    products: int = setting(8, "Lanczos steps for the eigenvector", low=1)

    def is_neutral(self) -> bool:
        """Slopes that begin at 0 and never rise stay there."""
        return self.start == 0 and self.delta_plus == 0

    def gradient_evaluations(self) -> float:
        """One per update, and two per product in every move."""
        return 1.0 + 2.0 * self.products / self.every

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Refuse a network without rectifier modules, and gradients that are not those of a loss."""
        found = []
        if not any(isinstance(part, nn.ReLU) for part in module.modules()):
            found.append("adaptive_linearization: the model has no nn.ReLU module (functional ones cannot be found)")
        found += [
            f"adaptive_linearization needs the Hessian of the loss; the gradient of {remedy.name} has another"
            for remedy in trial.active
            if remedy.nesting is Nesting.POINT
        ]
        return found

    def network_problems(self, module: nn.Module, examples: Any) -> list[str]:
        """Refuse rectifiers that are no modules: a slope is given to all of them, or the remedy is another one."""
        given, left = sum(isinstance(part, Rectifier) for part in module.modules()), _FunctionalRectifiers()
        with torch.no_grad(), left:
            module.train()(examples)
        if not left.number:
            return []
        return [
            f"adaptive_linearization: {left.number} rectifiers of the model are calls of a function (F.relu, clamp), which cannot "
            f"be given a slope; {given} are nn.ReLU modules: write each as an nn.ReLU module of its own"
        ]

    def computes_with_inputs(self) -> bool:
        """Slopes of single units are counted by one pass of zeros."""
        return self.granularity == "unit"

    def due(self, position: Position) -> bool:
        """The first of every so many steps moves the slopes."""
        return position.step % self.every == 0

    def network(self, module: nn.Module, input_shape: Sequence[int]) -> nn.Module:
        """Put a rectifier with a slope, shape () or (units,), in place of every nn.ReLU."""
        units = _units(module, input_shape) if self.granularity == "unit" else {}
        twins: dict[nn.Module, Rectifier] = {}
        for part in list(module.modules()):
            # not named_children, which names a module that stands in two places once
            for name, child in part._modules.items():
                if isinstance(child, nn.ReLU):
                    shape = (units[child],) if child in units else ()
                    setattr(part, name, twins.setdefault(child, Rectifier(torch.full(shape, self.start))))
        return module

    def gradient(self, inner: GradientFn) -> GradientFn:
        """Return the gradient inside it, and in some steps the moved slopes among the buffers."""

        def linearizing(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            loss, gradients, updated = inner(params, buffers, batch)
            if not batch.due["adaptive_linearization"]:
                return loss, gradients, updated
            slopes = {name: value for name, value in buffers.items() if name.rpartition(".")[2] == SLOPE}
            others = {name: value for name, value in buffers.items() if name not in slopes}

            def gradient_at(point: Params) -> Params:
                return inner(point, others, batch)[1]

            vector = dominant_eigenvector(gradient_at, params | slopes, self.products, orientation=self.orientation)
            down, up = (batch.values[f"adaptive_linearization.delta_{sign}"] for sign in ("minus", "plus"))
            moved = {
                name: (value + torch.where(vector[name] > 0, -down, up)).clamp(0.0, 1.0)
                for name, value in slopes.items()
            }
            return loss, gradients, updated | moved

        return linearizing


class Rectifier(nn.Module):
    """y = x for x > 0, else slope x; the slope is a buffer, shape () or one for each unit or channel (C,)."""

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.register_buffer(SLOPE, slope)

    def forward(self, input: Tensor) -> Tensor:
        """Rectify (B, C, ...)."""
        return F.prelu(input, self.get_buffer(SLOPE).reshape(-1))


class _FunctionalRectifiers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the calls that rectify, whoever makes them: modules have been replaced by others before."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.number = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        name = func.overloadpacket._qualified_op_name.removeprefix("aten::").rstrip("_")
        lowest = given.get("min", args[1] if len(args) > 1 else None)
        cut = name in ("clamp_min", "clamp", "threshold") and isinstance(lowest, int | float) and lowest == 0
        is_bounded = name == "clamp" and given.get("max", args[2] if len(args) > 2 else None) is not None
        self.number += name == "relu" or (cut and not is_bounded)
        return func(*args, **given)


def _units(module: nn.Module, input_shape: Sequence[int]) -> dict[nn.Module, int]:
    """Return the units or channels that each rectifier sees, from one pass of zeros."""
    seen: dict[nn.Module, set[int]] = {}

    def note(part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.setdefault(part, set()).add(inputs[0].shape[1])

    handles = [part.register_forward_pre_hook(note) for part in module.modules() if isinstance(part, nn.ReLU)]
    training = module.training
    with torch.no_grad():
        module.eval()(next(module.parameters()).new_zeros(1, *input_shape))
    module.train(training)
    for handle in handles:
        handle.remove()
    if any(len(widths) > 1 for widths in seen.values()):
        raise RequestError("adaptive_linearization.granularity = 'unit': one nn.ReLU serves layers of several widths")
    return {part: widths.pop() for part, widths in seen.items()}


def dominant_eigenvector(
    gradient: Callable[[Params], Params], point: Params, products: int, *, orientation: str = "gradient"
) -> Params:
    """Return the unit eigenvector of the most positive Hessian eigenvalue that the gradient has a part in.

    Lanczos from the gradient with full reorthogonalization, so many products; H u = (g(w + h u) - g(w - h u)) / 2h with
    h = eps^(1/3) (1 + |w|). The sign: orientation "gradient" makes <gradient, v> >= 0, "largest" the largest entry positive.
    No control flow depends on values, so members may be stacked. Cost: 1 + 2 products gradients. The accuracy is that
    of the difference (exact for a quadratic, 1e-3 in float32): enough for signs of entries, tune_lb/surface/lanczos.py measures.
    """
    sizes = [value.numel() for value in point.values()]

    def flat(tree: Params) -> Tensor:
        return torch.cat([tree[name].reshape(-1) for name in point])

    def tree(vector: Tensor) -> Params:
        parts = torch.split(vector, sizes)
        return {name: part.view_as(value) for (name, value), part in zip(point.items(), parts, strict=True)}

    origin = flat(point)
    rounding = torch.finfo(origin.dtype).eps ** (2 / 3)
    h = rounding**0.5 * (1.0 + origin.norm())

    def product(vector: Tensor) -> Tensor:
        ahead, behind = (flat(gradient(tree(origin + move))) for move in (h * vector, -h * vector))
        change: Tensor = (ahead - behind) / (2.0 * h)
        return change

    start = flat(gradient(point))
    tiny = torch.finfo(origin.dtype).tiny ** 0.5
    basis = [start / start.norm().clamp_min(tiny)]
    diagonal: list[Tensor] = []
    below: list[Tensor] = []
    exhausted = bound = torch.zeros_like(h)
    for k in range(min(products, len(start))):
        vector = product(basis[k])
        size = vector.norm()
        span = torch.stack(basis)
        alpha = basis[k] @ vector
        for _ in range(2):
            vector = vector - span.T @ (span @ vector)
        # where the Krylov space is exhausted what is left is rounding: its entry must not win
        diagonal.append(torch.where(exhausted > 0, -bound, alpha))
        beta = vector.norm()
        bound = bound + size
        exhausted = torch.where(beta <= rounding * size, torch.ones_like(exhausted), exhausted)
        below.append(torch.where(exhausted > 0, torch.zeros_like(beta), beta))
        basis.append(vector / beta.clamp_min(tiny))
    matrix = torch.diag_embed(torch.stack(diagonal))
    if len(below) > 1:
        side = torch.diag_embed(torch.stack(below[:-1]), offset=-1)
        matrix = matrix + side + side.T
    weights = torch.linalg.eigh(matrix).eigenvectors[:, -1]
    found = weights @ torch.stack(basis[: len(diagonal)])
    largest = (found.abs() == found.abs().max()).to(found.dtype) @ found
    reference = found @ start if orientation == "gradient" else largest
    return tree(torch.where(reference < 0, -found, found))
