"""How noisy the gradient of one example is: the batch size beyond which larger batches stop paying."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tune_lb.errors import RequestError
from tune_lb.metrics.metric import Value, generator, protocol, protocol_columns
from tune_lb.surface.example_gradients import each_gradient, weighted_gradient
from tune_lb.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class GradientNoiseScale:
    """The simple noise scale tr(C) / |g|^2 and the critical batch size tr(H C) / (g^T H g), in examples.

    g = (1/N) sum_i g_i, C = (1/N) sum_i (g_i - g)(g_i - g)^T over the examples measured, one by one: exact there.
    At a batch of that many examples the noise of the mean gradient equals its length.
    `unbiased` and `two_batches` estimate the same for the distribution that the examples were drawn from: from two batch
    sizes b < B, |G|^2 = (B |g_B|^2 - b |g_b|^2) / (B - b), tr = (|g_b|^2 - |g_B|^2) / (1/b - 1/B), |g_b|^2 averaged over
    disjoint batches of b; `unbiased` with b = 1, B = N, `two_batches` with `groups` random batches of b = N // groups.
    The ratio of two unbiased estimates; null where that of |G|^2 is not positive. Standard errors: the delta method over
    examples, over groups. tr(H C) is the mean of z^T H z, z = N^-1/2 sum_i e_i (g_i - g), e_i = +-1: probes of them.

    Source: McCandlish et al., 2018, eq. 2.8, 2.9 and appendix A.1.
    groups: disjoint random batches that `two_batches` comes from, at least 2; groups > N leave it null.
    probes: random vectors z that tr(H C) is estimated with, at least 2; the critical batch size is null where g^T H g is
    not positive.
    max_samples: see Metric.
    Cost: N gradients of single examples, groups + probes gradients, 1 + probes Hessian-vector products.
    """

    name: ClassVar[str] = "gradient_noise_scale"

    groups: int = 16
    probes: int = 8
    max_samples: int | None = 2048

    def __post_init__(self) -> None:
        for what, number in (("groups", self.groups), ("probes", self.probes)):
            if number < 2:
                raise RequestError(f"gradient_noise_scale.{what} = {number}: give at least 2")

    def columns(self) -> dict[str, str]:
        """See Metric."""
        name, error = self.name, "standard error of it as an estimate, examples"
        return {
            name: "tr(C) / |g|^2 over the examples measured, examples; null where g = 0",
            f"{name}.standard_error": f"{error} for the distribution of the examples",
            f"{name}.trace": "tr(C): variance of the gradient of one example, nats^2 per squared unit of weight",
            f"{name}.squared_gradient": "|g|^2, nats^2 per squared unit of weight",
            f"{name}.unbiased": "ratio of the unbiased estimates of tr(C) and |g|^2 from single examples, examples",
            f"{name}.two_batches": "ratio of the unbiased estimates from two batch sizes, examples",
            f"{name}.two_batches_standard_error": error,
            f"{name}.small_batch": "smaller batch size b of two_batches, examples",
            f"{name}.critical_batch_size": "tr(H C) / (g^T H g), examples; null where the denominator is not positive",
            f"{name}.critical_batch_size_standard_error": f"{error} of tr(H C), over the probes",
            f"{name}.groups": "batches of two_batches",
            f"{name}.probes": "random vectors that tr(H C) is estimated with",
            **protocol_columns(name, products=True),
        }

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws the groups and the probes."""
        name, num_samples = self.name, surface.num_samples
        _, gradient = surface.value_and_gradient()
        gradient = gradient.double()
        squared = float(gradient @ gradient)

        def products(g: Tensor) -> Tensor:
            # about the mean: |g_i|^2 less |g|^2 would lose all digits where the gradients are nearly alike
            around = g.double() - gradient
            return torch.stack([around @ around, g.double() @ gradient])

        around, along = each_gradient(surface, products).cpu().unbind(1)
        single = _TwoSizes(torch.stack([around + 2 * along - squared, along], 1), squared, 1)
        trace = float(around.mean())
        row: dict[str, Value] = {
            name: trace / squared if squared else None,
            f"{name}.standard_error": single.standard_error(),
            f"{name}.trace": trace,
            f"{name}.squared_gradient": squared,
            f"{name}.unbiased": single.ratio() if num_samples > 1 else None,
            f"{name}.groups": self.groups,
            f"{name}.probes": self.probes,
        }
        row |= self._two_batches(surface, seed) | self._critical(surface, gradient, seed)
        return row | protocol(name, surface, seed, products=True)

    def _two_batches(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        size = surface.num_samples // self.groups
        keys = [f"{self.name}.{what}" for what in ("two_batches", "two_batches_standard_error", "small_batch")]
        if not size:
            return dict.fromkeys(keys)
        order = torch.randperm(surface.num_samples, generator=generator(seed, f"{self.name}/groups"))
        used = order[: size * self.groups]

        def mean_over(members: Tensor) -> Tensor:
            weights = torch.zeros(surface.num_samples, dtype=torch.float64)
            weights[members] = 1 / len(members)
            return weighted_gradient(surface, weights).double()

        whole = mean_over(used)
        found = []
        for members in used.view(self.groups, size):
            g = mean_over(members)
            found.append(torch.stack([g @ g, g @ whole]))
        pair = _TwoSizes(torch.stack(found), float(whole @ whole), size)
        return dict(zip(keys, (pair.ratio(), pair.standard_error(), size), strict=True))

    def _critical(self, surface: LossSurface, gradient: Tensor, seed: int) -> dict[str, Value]:
        keys = [f"{self.name}.critical_batch_size{what}" for what in ("", "_standard_error")]
        curvature = float(gradient @ surface.hvp(gradient).double())
        if curvature <= 0:
            return dict.fromkeys(keys)
        draws = generator(seed, f"{self.name}/probes")
        found = []
        for _ in range(self.probes):
            signs = 2.0 * torch.randint(2, (surface.num_samples,), generator=draws).double() - 1
            z = weighted_gradient(surface, (signs - signs.mean()) / math.sqrt(surface.num_samples))
            found.append(float(z.double() @ surface.hvp(z).double()) / curvature)
        values = torch.tensor(found, dtype=torch.float64)
        return dict(zip(keys, (float(values.mean()), float(values.std()) / math.sqrt(self.probes)), strict=True))


class _TwoSizes:
    """|g_b|^2 and g_b^T g of disjoint batches of b examples, whose mean is g: (K, 2), and |g|^2; B = K b."""

    def __init__(self, products: Tensor, squared: float, size: int) -> None:
        self.squares, self.along = products.double().cpu().unbind(1)
        self.squared, self.size, self.num = squared, size, len(products)

    def ratio(self) -> float | None:
        """Return tr / |G|^2, each unbiased; None where |G|^2 does not come out positive."""
        mean, b, whole = float(self.squares.mean()), self.size, self.size * self.num
        squared = (whole * self.squared - b * mean) / (whole - b)
        trace = (mean - self.squared) / (1 / b - 1 / whole)
        return trace / squared if squared > 0 else None

    def standard_error(self) -> float | None:
        """Return that of b (mean |g_b|^2 / |g|^2 - 1), by the derivatives of a mean and of a squared mean."""
        if not self.squared or self.num < 2:
            return None
        ratio = float(self.squares.mean()) / self.squared
        influence = self.size * (self.squares - ratio * (2 * self.along - self.squared)) / self.squared
        return float(influence.std()) / math.sqrt(self.num)
