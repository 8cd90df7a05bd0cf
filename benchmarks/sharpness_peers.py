"""PyHessian, curvlinops and SciPy on a network, their Hessian-vector products counted."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import curvlinops
import numpy as np
import torch
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, eigsh
from sharpness_references import LOSS, Network


@dataclass(frozen=True)
class Found:
    """What one implementation returned: the value, Hessian-vector products (or evaluations) and what it says of its error."""

    value: float
    calls: int
    stated: float | None = None


def of_pyhessian(network: Network, call: Callable[[Any], Any]) -> Found:
    """Return what a call of PyHessian gives on the whole data as one batch, its products counted."""
    # the package gives its module's name to the class in it
    peer, counted = importlib.import_module("pyhessian.hessian"), []
    product = peer.hessian_vector_product

    def counting(*given: Any) -> Any:
        counted.append(1)
        return product(*given)

    peer.hessian_vector_product = counting
    try:
        value = call(peer.hessian(network.module, LOSS, data=(network.inputs, network.targets), cuda=False))
    finally:
        peer.hessian_vector_product = product
        network.module.zero_grad()
    return Found(float(value), len(counted))


def of_curvlinops(network: Network) -> Any:
    """Return the Hessian as curvlinops' operator."""
    data = [(network.inputs, network.targets)]
    return curvlinops.HessianLinearOperator(network.module, LOSS, network.parameters, data, check_deterministic=False)


def by_eigsh(network: Network, seed: int) -> Found:
    """Return lambda_max by SciPy's ARPACK on curvlinops' Hessian."""
    operator, counted = of_curvlinops(network).to_scipy(), []

    def counting(vector: Any) -> Any:
        counted.append(1)
        return operator.matvec(vector)

    wrapped = LinearOperator(operator.shape, matvec=counting, dtype=operator.dtype)
    start = np.random.default_rng(seed).standard_normal(operator.shape[0]).astype(operator.dtype)
    found = eigsh(wrapped, k=1, which="LA", tol=1e-3, v0=start, return_eigenvectors=False)
    return Found(float(found[0]), len(counted))


def by_hutchinson(network: Network, num_products: int) -> Found:
    """Return the trace by curvlinops' Hutchinson, one probe at a time as its memory is that of all probes at once."""
    operator = of_curvlinops(network)
    probes = [float(curvlinops.hutchinson_trace(operator, 1)) for _ in range(num_products)]
    return Found(statistics.fmean(probes), num_products, statistics.stdev(probes) / num_products**0.5)


def by_scipy(network: Network, eps: float) -> Found:
    """Return Metric 2.1 of the full space by SciPy's L-BFGS-B: from x, 10 iterations, no other tolerance, the best evaluation."""
    parameters = network.parameters
    weights = torch.cat([parameter.detach().flatten() for parameter in parameters])
    values = []

    def falling(y: Any) -> tuple[float, Any]:
        moved = torch.split(weights + torch.from_numpy(y).float(), [parameter.numel() for parameter in parameters])
        named = dict(zip(dict(network.module.named_parameters()), moved, strict=True))
        leaves = [named[name].view_as(p).requires_grad_() for name, p in network.module.named_parameters()]
        outputs = torch.func.functional_call(network.module, dict(zip(named, leaves, strict=True)), (network.inputs,))
        loss = LOSS(outputs, network.targets)
        values.append(float(loss))
        gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, leaves)])
        return -values[-1], -gradient.double().numpy()

    half = eps * (weights.double().abs().numpy() + 1)
    options = {"maxiter": 10, "maxfun": 30, "ftol": 0.0, "gtol": 0.0}
    minimize(
        falling,
        np.zeros(len(half)),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(-half, half, strict=True)),
        options=options,
    )
    return Found(100 * (max(values) - values[0]) / (1 + values[0]), len(values))
