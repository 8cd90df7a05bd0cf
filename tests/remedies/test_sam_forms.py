"""SAM in other norms, scaled with the weights, and in some steps only."""

from __future__ import annotations

import pytest
import torch

from tests.remedies.test_sam import Quadratic, params, quadratic
from tests.trainings import batch, flat, trajectory, trial
from tune_lb.budgets import Epochs
from tune_lb.optimizers.elementwise import SGD
from tune_lb.remedies.sam import SAM
from tune_lb.schedules import Constant
from tune_lb.training.gradient import by_autograd, mean_gradient

RHO, ETA = 0.37, 0.05


def ascent(remedy, w, shift):
    """Return where the second gradient was taken, from the gradient A (w + e) + shift found there, less w; and the first."""
    A, _, _ = quadratic()
    gradient = remedy.gradient(mean_gradient(Quadratic(A), lambda outputs, targets: outputs, by_autograd))
    values = {"sam.rho": RHO, "sam.eta": ETA, **({} if remedy.p is None else {"sam.p": remedy.p})}
    given = batch(shift.expand(6, 7), torch.zeros(6), values)
    _, found, _ = gradient(params(w), {"A": A}, given)
    return torch.linalg.solve(A, flat(found) - shift) - w, A @ w + shift


def weights():
    _, w, inputs = quadratic()
    return w, inputs[0]


@pytest.mark.parametrize("p", [1.01, 1.5, 2.0, 3.0, 10.0])
def test_the_step_is_the_longest_ascent_in_the_ball(p):
    w, shift = weights()
    e, g = ascent(SAM(rho=RHO, p=p), w, shift)
    q = p / (p - 1)
    assert torch.linalg.vector_norm(e, p).item() == pytest.approx(RHO, rel=1e-8)
    # Hoelder: nothing of that length has a larger product with the gradient
    assert (e @ g).item() == pytest.approx(RHO * torch.linalg.vector_norm(g, q).item(), rel=1e-8)


def test_two_is_the_default_and_a_thousand_million_is_infinity():
    w, shift = weights()
    torch.testing.assert_close(
        ascent(SAM(rho=RHO, p=2.0), w, shift)[0], ascent(SAM(rho=RHO), w, shift)[0], rtol=1e-8, atol=1e-9
    )
    e, g = ascent(SAM(rho=RHO, p=1e9), w, shift)
    torch.testing.assert_close(e, RHO * g.sign(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("p", [1.01, 3.0, 1e9])
def test_a_zero_gradient_perturbs_nothing_in_any_norm(p):
    nothing = torch.zeros(7).double()
    assert torch.equal(ascent(SAM(rho=RHO, p=p), nothing, nothing)[0], nothing)


@pytest.mark.parametrize("p", [None, 3.0])
def test_adaptive_is_the_same_in_weights_measured_by_their_size(p):
    class Named(Quadratic):
        """The first parameter is called a weight, the second is not."""

        def __init__(self, A):
            super().__init__(A)
            self.weight, self.bias = self.first, self.second
            del self.first, self.second

        def forward(self, inputs):
            w = torch.cat([self.weight.flatten(), self.bias])
            return w @ self.A @ w / 2 + inputs @ w

    A, w, inputs = quadratic()
    gradient = SAM(rho=RHO, p=p, adaptive=True).gradient(
        mean_gradient(Named(A), lambda outputs, _: outputs, by_autograd)
    )
    values = {"sam.rho": RHO, "sam.eta": ETA, **({} if p is None else {"sam.p": p})}
    point = {"weight": w[:4].view(2, 2), "bias": w[4:]}
    _, found, _ = gradient(point, {"A": A}, batch(inputs[:1], torch.zeros(1), values))
    e = torch.linalg.solve(A, flat(found) - inputs[0]) - w
    T, g = torch.cat([w[:4].abs() + ETA, torch.ones(3).double()]), A @ w + inputs[0]
    exponent = 2.0 if p is None else p
    q = exponent / (exponent - 1)
    assert torch.linalg.vector_norm(e / T, exponent).item() == pytest.approx(RHO, rel=1e-8)
    assert (e @ g).item() == pytest.approx(RHO * torch.linalg.vector_norm(T * g, q).item(), rel=1e-8)
    if p is None:
        torch.testing.assert_close(e, RHO * T**2 * g / (T * g).norm(), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("every", [2, 3])
def test_every_k_steps_the_others_are_plain(every):
    settings = {"optimizer": SGD(momentum=0.0), "schedule": Constant(), "lr": 1e-7, "budget": Epochs(7 / 3)}
    plain, some, always = (
        trajectory(trial(*remedies, **settings))[0][:, :63]
        for remedies in ([], [SAM(rho=0.5, every=every)], [SAM(rho=0.5)])
    )
    moves = [torch.diff(seen, dim=0) for seen in (plain, some, always)]
    for step in range(1, 7):
        # the 63 weights come first in what is seen; at so small a rate they are those of the start: a step is its gradient
        expected = moves[2] if step % every == 0 else moves[0]
        torch.testing.assert_close(moves[1][step - 1], expected[step - 1], rtol=1e-4, atol=1e-12)
    assert (moves[0] - moves[2]).abs().max() > 1e-10
    assert SAM(rho=0.5, every=every).gradient_evaluations() == pytest.approx(1 + 1 / every)
