from __future__ import annotations

import pytest
import torch
from scipy.optimize import Bounds, minimize

from tune_lb.surface import lbfgsb as module
from tune_lb.surface.lbfgsb import lbfgsb

N = 30


def quadratic_of(sign, seed):
    draws = torch.Generator().manual_seed(seed)
    Q = torch.randn(N, N, generator=draws, dtype=torch.float64)
    H = {"convex": Q @ Q.T, "concave": -Q @ Q.T, "indefinite": Q + Q.T}[sign]
    b = torch.randn(N, generator=draws, dtype=torch.float64)
    return lambda y: y @ (H @ y) / 2 + b @ y


def waves(y):
    A = torch.randn(60, N, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return torch.sin(A @ y).sum() + 0.1 * (y**2).sum()


def rosenbrock(y):
    return (100 * (y[1:] - y[:-1] ** 2) ** 2 + (1 - y[:-1]) ** 2).sum()


FUNCTIONS = {
    "rosenbrock": rosenbrock,
    "waves": waves,
    **{f"{sign} {seed}": quadratic_of(sign, seed) for sign in ("convex", "concave", "indefinite") for seed in range(2)},
}


def differentiated(f):
    def objective(y):
        y = y.detach().requires_grad_()
        value = f(y)
        return float(value.detach()), torch.autograd.grad(value, y)[0]

    return objective


def assert_iterates_of_scipy(f, n, seed, width, iterations):
    objective, draws = differentiated(f), torch.Generator().manual_seed(seed)
    upper = torch.rand(n, generator=draws, dtype=torch.float64) * width + 0.01
    start = (torch.rand(n, generator=draws, dtype=torch.float64) - 0.5) * upper

    def in_numpy(y):
        value, gradient = objective(torch.from_numpy(y.copy()))
        return value, gradient.numpy()

    options = {"maxiter": iterations, "ftol": 0, "gtol": 0}
    bounds = Bounds(-upper.numpy(), upper.numpy())
    theirs = minimize(in_numpy, start.numpy(), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    ours = lbfgsb(objective, start, -upper, upper, max_iterations=iterations, max_evaluations=1000)
    torch.testing.assert_close(ours.point, torch.from_numpy(theirs.x), rtol=1e-8, atol=1e-8)
    assert (ours.iterations, ours.evaluations) == (theirs.nit, theirs.nfev)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("width", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("block", [2, 512])
def test_iterates_are_those_of_scipy(name, width, block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    for iterations in (1, 2, 5):
        assert_iterates_of_scipy(FUNCTIONS[name], N, 5, width, iterations)


HARD = {
    "projection uphill": (rosenbrock, 2, 3, 10.0, 8),
    "tilted line search": (lambda y: (torch.sin(20 * y) + y**2).sum() - torch.cos(7 * y[0] * y[1]), 30, 0, 3.0, 8),
    "bisection and projection uphill": (lambda y: (-y / (y * y + 0.1)).sum(), 2, 0, 3.0, 8),
    "bisection": (lambda y: (-y / (y * y + 0.1)).sum(), 2, 2, 10.0, 8),
    "kinks": (lambda y: (y - 0.3).abs().sum() + 0.1 * (y**2).sum(), 30, 1, 0.5, 8),
    "several minima": (lambda y: 3 * (y**4 - 16 * y**2 + 5 * y).sum() + (y[0] * y[1:]).sum(), 30, 0, 3.0, 3),
}


@pytest.mark.parametrize("case", HARD)
def test_rare_branches_are_those_of_scipy(case):
    assert_iterates_of_scipy(*HARD[case])


def test_it_stops_at_a_corner_with_zero_projected_gradient():
    ones = torch.ones(5, dtype=torch.float64)
    signs = torch.tensor([1, -1, 1, 1, -1], dtype=torch.float64)
    end = lbfgsb(
        lambda y: (float(signs @ y), signs), 0 * ones, -ones / 4, ones / 2, max_iterations=10, max_evaluations=99
    )
    assert end.stop == "projected_gradient"
    torch.testing.assert_close(end.point, torch.where(signs > 0, -0.25, 0.5).double())


def test_evaluations_are_bounded_even_within_a_line_search():
    objective = differentiated(rosenbrock)
    bound = 3 * torch.ones(N, dtype=torch.float64)
    for most in (1, 2, 7):
        end = lbfgsb(objective, -bound / 2, -bound, bound, max_iterations=100, max_evaluations=most)
        assert (end.evaluations, end.stop) == (most, "evaluations")


@pytest.mark.parametrize("seed", range(60))
def test_on_random_problems_it_never_fails_stays_in_the_box_and_does_not_end_above_its_start(seed):
    draws = torch.Generator().manual_seed(seed)
    n = int(torch.randint(1, 9, (), generator=draws))
    scale = 10.0 ** float(torch.randint(-8, 9, (), generator=draws))
    A = torch.randn(6, n, generator=draws, dtype=torch.float64)
    b = torch.randn(6, generator=draws, dtype=torch.float64)
    kinds = [
        lambda y: scale * ((A @ y - b) ** 2).sum(),
        lambda y: -scale * ((A @ y - b) ** 2).sum(),
        lambda y: scale * (A @ y - b).abs().sum(),
        lambda y: scale * (A @ y).relu().sum() - scale * y.sum(),
        lambda y: scale * (b[0] * y).sum(),
        lambda y: scale * (A @ y).sin().sum(),
    ]
    objective = differentiated(kinds[seed % len(kinds)])
    upper = torch.rand(n, generator=draws, dtype=torch.float64) * 10.0 ** float(
        torch.randint(-9, 2, (), generator=draws)
    )
    # in the middle, in a corner, and a rounding beside one
    for start in (0 * upper, upper, torch.nextafter(upper, 0 * upper), -upper * (1 + 1e-16)):
        found = lbfgsb(objective, start, -upper, upper, max_iterations=10, max_evaluations=60)
        assert (found.point.abs() <= upper * (1 + 1e-12)).all()
        assert objective(found.point)[0] <= objective(start.clamp(-upper, upper))[0]


def test_values_and_gradients_that_are_not_finite_end_it():
    for value, slope in ((1.0, float("nan")), (float("nan"), 1.0), (float("inf"), float("inf")), (0.0, float("inf"))):
        calls = []

        def objective(y, value=value, slope=slope, calls=calls):
            calls.append(1)
            # as it should be at the start, then not
            return (1.0, torch.ones_like(y)) if len(calls) == 1 else (value, torch.full_like(y, slope))

        bound = torch.ones(4, dtype=torch.float64)
        found = lbfgsb(objective, 0 * bound, -bound, bound, max_iterations=10, max_evaluations=30)
        assert found.evaluations <= 30
        assert found.point.isfinite().all()
