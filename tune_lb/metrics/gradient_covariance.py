"""The covariance of the gradients of single examples, and how far it lies along the Hessian."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tune_lb.errors import RequestError
from tune_lb.metrics.metric import Value, generator, protocol, protocol_columns, unmeasured
from tune_lb.surface.example_gradients import covariance_product
from tune_lb.surface.lanczos import largest_eigenpair
from tune_lb.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class GradientCovariance:
    """The largest eigenvalue of the gradients' covariance C, and the alignment of C with the Hessian H.

    C = (1/N) sum_i (g_i - g)(g_i - g)^T. For l_i = -log p_i: H = C + g g^T - (1/N) sum_i (Hessian of p_i) / p_i, and
    the last term goes to 0 where every p_i goes to 1, but so does H: what is left of it is `remainder` =
    |H - C - g g^T|_F / |H|_F. In logistic regression it is 0 at zero weights and goes to 1 as the fit becomes perfect.
    alignment = tr(H C) / (|H|_F |C|_F), in [-1, 1]: the cosine of the two matrices; sqrt-n-th of that for isotropic noise.
    along_top = v^T C v / lambda_max(C), in [0, 1], v the eigenvector of lambda_max(H): 1 where noise is largest there.
    tr(H C) = E (H z)^T (C z), |H|_F^2 = E |H z|^2, ... with the same z ~ N(0, I): probes of them; the eigenvalues by Lanczos.

    Source: Xing et al., 2018 (A Walk with SGD), section 4 and appendix D; the alignment after Zhu et al., 2019.
    probes: at least 2; the error of alignment falls as their root (`alignment_standard_error`, jackknife).
    tolerance, max_products: of each eigenvalue, as in lambda_max. max_samples: see Metric.
    Cost: a product with C takes about 3 gradients, one with H 2; about 10 + probes of each.
    """

    name: ClassVar[str] = "gradient_covariance"

    probes: int = 16
    tolerance: float = 1e-2
    max_products: int = 100
    max_samples: int | None = 2048

    def __post_init__(self) -> None:
        if self.probes < 2:
            raise RequestError(f"gradient_covariance.probes = {self.probes}: give at least 2")
        if not 0 < self.tolerance < 1:
            raise RequestError(f"gradient_covariance.tolerance = {self.tolerance}: give a number between 0 and 1")
        if self.max_products < 1:
            raise RequestError(f"gradient_covariance.max_products = {self.max_products}: give at least 1")

    def columns(self) -> dict[str, str]:
        """See Metric."""
        name = self.name
        return {
            name: "largest eigenvalue of the covariance C of the examples' gradients, nats^2 per squared unit of weight",
            f"{name}.alignment": "cosine of Hessian and C as matrices; null where one of them is 0",
            f"{name}.alignment_standard_error": "standard error of the alignment, over the probes",
            f"{name}.remainder": "|H - C - g g^T|_F / |H|_F; null where the Hessian is 0",
            f"{name}.along_top": "v^T C v / lambda_max(C), v the Hessian's top eigenvector; null where C is 0",
            f"{name}.converged": "whether both eigenvectors reached the tolerance (or rounding)",
            f"{name}.tolerance": "relative residual asked for",
            f"{name}.probes": "random vectors that the matrices' products are estimated with",
            **protocol_columns(name, products=True),
        }

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws start vectors and probes."""
        draws = generator(seed, self.name)

        def drawn() -> Tensor:
            return torch.randn(surface.num_parameters, generator=draws).to(surface.device, surface.dtype)

        def noise(vector: Tensor) -> Tensor:
            return covariance_product(surface, vector)

        limits = {"tolerance": self.tolerance, "max_products": self.max_products}
        try:
            largest = largest_eigenpair(noise, drawn(), **limits)  # type: ignore[arg-type]
            top = largest_eigenpair(surface.hvp, drawn(), **limits)  # type: ignore[arg-type]
        except FloatingPointError as error:
            return unmeasured([self], str(error))
        along = float(top.vector.double() @ noise(top.vector).double())
        _, gradient = surface.value_and_gradient()
        sums = torch.stack(
            [_products(z, surface.hvp(z), noise(z), gradient) for z in (drawn() for _ in range(self.probes))]
        )
        alignment, uncertainty = _jackknife(sums)
        hessian, remainder = float(sums[:, 0].mean()), float(sums[:, 3].mean())
        name = self.name
        return {
            name: max(0.0, largest.value),
            f"{name}.alignment": alignment,
            f"{name}.alignment_standard_error": uncertainty,
            f"{name}.remainder": math.sqrt(remainder / hessian) if hessian else None,
            f"{name}.along_top": along / largest.value if largest.value > 0 else None,
            f"{name}.converged": largest.converged and top.converged,
            f"{name}.tolerance": self.tolerance,
            f"{name}.probes": self.probes,
            **protocol(name, surface, seed, products=True),
        }


def _products(z: Tensor, Hz: Tensor, Cz: Tensor, g: Tensor) -> Tensor:
    """Return |H z|^2, |C z|^2, (H z)^T (C z) and |(H - C - g g^T) z|^2, (4,), float64."""
    z, Hz, Cz, g = z.double(), Hz.double(), Cz.double(), g.double()
    rest = Hz - Cz - g * (g @ z)
    return torch.stack([Hz @ Hz, Cz @ Cz, Hz @ Cz, rest @ rest]).cpu()


def _jackknife(sums: Tensor) -> tuple[float | None, float | None]:
    """Return the cosine of the means, and its standard error, leaving out one row (4,) at a time."""
    num = len(sums)

    def cosine(mean: Tensor) -> float:
        return float(mean[2] / (mean[0] * mean[1]).sqrt())

    total = sums.sum(0)
    if not (total[0] > 0 and total[1] > 0):
        return None, None
    left = torch.tensor([cosine((total - row) / (num - 1)) for row in sums], dtype=torch.float64)
    error = math.sqrt((num - 1) / num * float((left - left.mean()).square().sum()))
    return cosine(total / num), error if math.isfinite(error) else None
