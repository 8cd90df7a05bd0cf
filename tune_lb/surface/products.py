"""Hessian-vector products where fast kernels and functions of the user's have no right second derivative."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Products = Literal["exact", "differences"]
"""How products with the Hessian are made: by reverse mode twice, or by central differences of gradients."""

CONSISTENT = 1e-3
"""Largest relative difference between central differences with two steps of which one is believed."""

WRONG = 1e-2
"""Relative difference from a believed central difference beyond which an exact product is not right."""

STEPS = (1e-8, 1e-7, 1e-6)
"""Steps in float64, relative to the weights: with so small ones hardly a unit of a ReLU network crosses its kink."""

COARSE_STEPS = (3e-3, 1e-3)
"""Steps for networks that do not compute in float64, or not in every part of them; taken with 20 and 10 times the tolerances."""


@contextlib.contextmanager
def twice_differentiable(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Let torch take operations that can be differentiated twice while graphs for Hessian-vector products are built and used.

    Fused attention kernels, the fast path of torch's transformer layers in evaluation mode, and cuDNN's recurrent layers have
    no second derivative; they give way to the plain operations, which compute the same up to rounding.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    recurrent = device.type == "cuda" and any(isinstance(part, nn.RNNBase) for part in module.modules())
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.cudnn.flags(enabled=False) if recurrent else contextlib.nullcontext(),
        ):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def by_differences(
    gradient: Callable[[Tensor], Tensor], point: Tensor, vector: Tensor, relative: float = 0.0
) -> Tensor:
    """Return (g(w + h v) - g(w - h v)) / 2h, (n,), with h |v| = relative * max(1, |w|). Cost: two gradients.

    Rounding errs by about eps / h, truncation by h^2, so that eps^(1/3) is best for a function that varies on the scale of |w|
    (Nocedal and Wright, Numerical Optimization, section 8.1); a loss varies faster along its sharp directions: the default is a
    fifth of it, 1e-3 in float32. At kinks (ReLU) it also counts what the gradient jumps by, which an exact product does not.
    """
    length = float(vector.norm())
    if length == 0:
        return torch.zeros_like(vector)
    relative = relative or torch.finfo(point.dtype).eps ** (1 / 3) / 5
    step = vector * (relative * max(1.0, float(point.norm())) / length)
    ahead, behind = point + step, point - step
    return (gradient(ahead) - gradient(behind)) * (length / float((ahead - behind).norm()))


class Differentiable(Protocol):
    """What the choice of products needs of a loss surface."""

    @property
    def point(self) -> Tensor:
        """The weights (n,)."""
        ...

    def value_and_gradient(self, point: Tensor | None = None) -> tuple[float, Tensor]:
        """Return f and its gradient."""
        ...

    def exact_product(self, vector: Tensor) -> Tensor:
        """Return H v by reverse mode twice."""
        ...

    def has_own_functions(self) -> bool:
        """Say whether the graph of f holds autograd functions written in Python."""
        ...


def right_products(surface: Differentiable) -> Products:
    """Say how products are made on surfaces like this one, which is over a few examples, in float64 if the network allows it.

    An exact product with a random vector is held against central differences. These count only where two steps agree, within
    CONSISTENT: kinks, ties and roundings within the network make them disagree, and then the exact product stands. Where they
    agree and the exact product differs by more than WRONG, or raises, differences it is: an autograd function whose backward
    is not itself differentiable (`once_differentiable`, `.data`) makes it so. A network that does not compute in float64 is
    judged by coarse steps, and only where such functions are in its graph. Cost: one product, five gradients; twice or three
    times that where steps do not agree.
    """
    point = surface.point
    draws = torch.randn(len(point), generator=torch.Generator().manual_seed(0)).to(point)

    def gradient(at: Tensor) -> Tensor:
        return surface.value_and_gradient(at)[1]

    try:
        exact = surface.exact_product(draws)
    except torch.OutOfMemoryError:
        raise
    except (
        RuntimeError
    ):  # an operation without a second derivative; one that fails for another reason has no gradient either
        gradient(point)
        return "differences"
    steps = list(STEPS) if point.dtype == torch.float64 else []
    # with coarse steps kinks are crossed by the thousand, which looks like a second derivative
    steps += COARSE_STEPS if surface.has_own_functions() else ()
    noise = 100 * torch.finfo(point.dtype).eps * float(gradient(point).norm()) * float(draws.norm())
    for relative in steps:
        one, two = (by_differences(gradient, point, draws, step) for step in (relative, 2 * relative))
        rounding = noise / (relative * max(1.0, float(point.norm())))
        allowed, wrong = (20 * CONSISTENT, 10 * WRONG) if relative in COARSE_STEPS else (CONSISTENT, WRONG)
        if float((one - two).norm()) <= allowed * float(one.norm()) + rounding:
            size = max(float(one.norm()), float(exact.norm()))
            return "differences" if float((one - exact).norm()) > wrong * size + rounding else "exact"
    return "exact"


def has_own_functions(output: Tensor) -> bool:
    """Say whether the graph of a tensor holds an autograd function written in Python, whose second derivative may be wrong."""
    left, seen = [output.grad_fn], set()
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            return True
        seen.add(node)
        left += [following for following, _ in node.next_functions]
    return False
