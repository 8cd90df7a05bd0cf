"""L-BFGS-B: limited-memory quasi-Newton minimisation in a box, on whatever device the vectors are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tune_lb.surface.line_search import more_thuente

Objective = Callable[[Tensor], tuple[float, Tensor]]

MEMORY = 10
"""Correction pairs kept, as in scipy (maxcor)."""

BLOCK = 512
"""Breakpoints of the projected path examined at first; twice as many each time that the minimum lies beyond."""


@dataclass(frozen=True)
class Minimization:
    """Where a minimisation ended: point (n,), iterations and evaluations made, and the reason.

    stop: iterations | evaluations | projected_gradient | no_decrease | line_search.
    """

    point: Tensor
    iterations: int
    evaluations: int
    stop: str


def lbfgsb(
    objective: Objective, start: Tensor, lower: Tensor, upper: Tensor, *, max_iterations: int, max_evaluations: int
) -> Minimization:
    """Minimise a function over the box lower <= y <= upper from a start in it, with zero tolerances.

    Each iteration takes the generalised Cauchy point of the quadratic model with B = theta I - W M W^T, minimises the
    model over the variables that are free there, projects, and searches the line. Stops after max_iterations, where the
    projected gradient is exactly zero, or where an iteration brings no decrease; after max_evaluations even within a
    line search.

    The iterates are those of scipy.optimize.minimize(method="L-BFGS-B", options={"ftol": 0, "gtol": 0}) up to rounding,
    which checks the bounds in a Python loop (0.3 s for 43,000 variables, more than all iterations together) and needs a
    CPU. Source: Byrd, Lu, Nocedal and Zhu, 1995; Morales and Nocedal, 2011 (the projection).

    start, lower, upper: (n,), float64. Cost per iteration beside evaluations: about 60 MEMORY n flops and one sort of
    part of the variables; memory 4 MEMORY n.
    """
    count = 0
    last: tuple[Tensor, tuple[float, Tensor]] | None = None

    def evaluate(point: Tensor) -> tuple[float, Tensor]:
        # A line search may end by going back to the point it has just been at: that costs nothing.
        nonlocal count, last
        if last is None or not torch.equal(point, last[0]):
            count += 1
            last = point, objective(point)
        return last[1]

    x = start.clamp(lower, upper)
    f, g = evaluate(x)
    model = Model(x)
    iterations = 0
    if _is_stationary(x, g, lower, upper):
        return Minimization(x, 0, count, "projected_gradient")
    while True:
        target = model.minimizer(x, g, lower, upper)
        d = target - x
        slope = float(g @ d)
        step = None
        if slope < 0:
            latest: tuple[float, Tensor, Tensor] = (f, g, x)

            def line(step: float, x: Tensor = x, d: Tensor = d, target: Tensor = target) -> tuple[float, float]:
                nonlocal latest
                point = target if step == 1 else x + step * d
                latest = (*evaluate(point), point)
                return latest[0], float(latest[1] @ d)

            longest = 1.0 if iterations == 0 else _longest(x, d, lower, upper)
            step = more_thuente(line, f, slope, longest, max_evaluations - count)
        if step is None and count >= max_evaluations:
            return Minimization(x, iterations, count, "evaluations")
        if step is None:
            if not model.pairs:
                return Minimization(x, iterations, count, "line_search")
            model = Model(x)
            continue
        f_before, g_before, x_before = f, g, x
        f, g, x = latest
        iterations += 1
        if iterations >= max_iterations:
            return Minimization(x, iterations, count, "iterations")
        if _is_stationary(x, g, lower, upper):
            return Minimization(x, iterations, count, "projected_gradient")
        if f_before - f <= 0:
            return Minimization(x, iterations, count, "no_decrease")
        model.update(x - x_before, g - g_before, -slope * step)


class Model:
    """The model of L-BFGS-B: Hessian theta I - W^T M W with W = [Y; theta S] of the last MEMORY pairs, (2 pairs, n)."""

    def __init__(self, like: Tensor) -> None:
        self.steps, self.changes = like.new_empty(0, like.numel()), like.new_empty(0, like.numel())
        self.theta = 1.0
        self.W = self.steps
        self.M = np.zeros((0, 0))

    @property
    def pairs(self) -> int:
        """Correction pairs held now."""
        return len(self.steps)

    def update(self, step: Tensor, change: Tensor, decrease: float) -> None:
        """Add the pair (s, y); pairs without positive curvature are skipped: s^T y <= eps * (predicted decrease)."""
        curvature = float(step @ change)
        if curvature <= np.finfo(np.float64).eps * decrease:
            return
        self.steps = torch.cat([self.steps, step[None]])[-MEMORY:]
        self.changes = torch.cat([self.changes, change[None]])[-MEMORY:]
        self.theta = float(change @ change) / curvature
        sy = (self.steps @ self.changes.T).cpu().numpy()
        ss = (self.steps @ self.steps.T).cpu().numpy()
        lower = np.tril(sy, -1)
        self.W = torch.cat([self.changes, self.theta * self.steps])
        try:
            self.M = np.linalg.inv(np.block([[-np.diag(np.diag(sy)), lower.T], [lower, self.theta * ss]]))
        except np.linalg.LinAlgError:
            # steps that are parallel up to rounding: begin anew, as scipy does
            self.steps, self.changes = self.steps[:0], self.changes[:0]

    def minimizer(self, x: Tensor, g: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Return the point to search towards from x: Cauchy point, then projected minimiser over the free variables."""
        if not self.pairs:
            return (x - g).clamp(lower, upper)
        found = self._cauchy_point(x, g, lower, upper)
        if found is None:
            return (x - g).clamp(lower, upper)
        cauchy, c, free = found
        if not free.any():
            return cauchy
        residual = -(g + self.theta * (cauchy - x) - self._apply(self.M @ c))[free]
        inside = self.W if free.all() else self.W[:, free]
        v = self.M @ (inside @ residual).cpu().numpy()
        try:
            v = np.linalg.solve(np.eye(len(v)) - self.M @ (inside @ inside.T).cpu().numpy() / self.theta, v)
        except np.linalg.LinAlgError:
            return cauchy
        move = residual / self.theta + torch.from_numpy(v).to(g) @ inside / self.theta**2
        if not move.isfinite().all():
            return cauchy
        full = torch.zeros_like(x)
        full[free] = move
        projected = (cauchy + full).clamp(lower, upper)
        if float((projected - x) @ g) <= 0:
            return projected
        return (cauchy + min(1.0, _longest(cauchy, full, lower, upper)) * full).clamp(lower, upper)

    def _apply(self, v: np.ndarray) -> Tensor:
        return torch.from_numpy(v).to(self.W) @ self.W

    def _cauchy_point(
        self, x: Tensor, g: Tensor, lower: Tensor, upper: Tensor
    ) -> tuple[Tensor, np.ndarray, Tensor] | None:
        """Return the first minimiser x^c of the model along P(x - t g), W (x^c - x), and which variables are free.

        None where the model has lost its curvature along the path to rounding.
        """
        bound = torch.where(g > 0, lower, upper)
        breaks = torch.where(g == 0, torch.inf, (x - bound) / g)
        moves = breaks > 0
        d = torch.where(moves, -g, 0.0)
        p = (self.W @ d).cpu().numpy()
        c = np.zeros_like(p)
        slope = -float(d @ d)
        curvature = -self.theta * slope - float(p @ self.M @ p)
        if not (slope < 0 < curvature < np.inf):
            return None
        least = np.finfo(np.float64).eps * curvature
        time, crossed = 0.0, torch.zeros(0, dtype=torch.int64, device=x.device)
        for block in _in_order(breaks, moves, -slope / curvature):
            # Row j is the state before break j is crossed: the first interval with a minimum in it can be found.
            t, gb, z = (v.cpu().numpy() for v in (breaks[block], g[block], bound[block] - x[block]))
            w = self.W[:, block].T.cpu().numpy()
            dt = np.diff(t, prepend=time)
            ps = p + np.vstack([np.zeros_like(p), np.cumsum(gb[:, None] * w, axis=0)])
            cs = c + np.vstack([np.zeros_like(p), np.cumsum(dt[:, None] * ps[:-1], axis=0)])
            wm = w @ self.M
            bends = -self.theta * gb**2 - 2 * gb * (wm * ps[:-1]).sum(1) - gb**2 * (wm * w).sum(1)
            curvatures = np.maximum(curvature + np.concatenate([[0.0], np.cumsum(bends)]), least)
            jumps = dt * curvatures[:-1] + gb**2 + self.theta * gb * z - gb * (wm * cs[1:]).sum(1)
            slopes = slope + np.concatenate([[0.0], np.cumsum(jumps)])
            found = np.flatnonzero(-slopes[:-1] < dt * curvatures[:-1])
            last = int(found[0]) if len(found) else len(block)
            p, c, slope, curvature = ps[last], cs[last], float(slopes[last]), float(curvatures[last])
            time = float(t[last - 1]) if last else time
            crossed = torch.cat([crossed, block[:last]])
            if len(found):
                break
        held = torch.zeros_like(moves)
        held[crossed] = True
        free = moves & ~held
        remaining = torch.where(free, d, 0.0)
        if remaining.any():
            rest = max(-slope / curvature, 0.0)
            time, c = time + rest, c + rest * p
        return torch.where(held, bound, x + time * remaining).clamp(lower, upper), c, free


def _in_order(breaks: Tensor, moves: Tensor, first: float) -> Iterator[Tensor]:
    """Yield the indices of the moving variables with a finite break, by growing break, in blocks that grow.

    Sorted are those up to a time only: `first`, the minimum if nothing is crossed, then four times as far.
    """
    done, limit, size = 0.0, first, BLOCK
    candidates = moves & breaks.isfinite()
    while True:
        window = (candidates & (breaks > done) & (breaks <= limit)).nonzero()[:, 0]
        order = window[breaks[window].argsort()]
        at = 0
        while at < len(order):
            yield order[at : at + size]
            at, size = at + size, 2 * size
        if limit == torch.inf or (done == 0 and not len(order)):
            return
        done, limit = limit, 4 * limit if len(order) else torch.inf


def _is_stationary(x: Tensor, g: Tensor, lower: Tensor, upper: Tensor) -> bool:
    """Say whether no variable can move against its gradient: it stays where it is, or lies on the bound up to rounding."""
    moves = (x - g).clamp(lower, upper) != x
    inside = torch.where(g > 0, x > lower, x < upper)
    return not bool((moves & inside).any())


def _longest(x: Tensor, d: Tensor, lower: Tensor, upper: Tensor) -> float:
    """Return the longest step along d that stays in the box (1e10 where nothing limits it)."""
    room = torch.where(d > 0, upper - x, lower - x) / d
    return min(1e10, float(torch.where(d != 0, room, torch.inf).min()))
