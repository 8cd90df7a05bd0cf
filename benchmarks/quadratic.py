"""What a learning rate does on a quadratic: the illustration of Xing et al. (2018), figure 36.

    python benchmarks/quadratic.py

Gradient descent on L(x) = sum_i h_i x_i^2 / 2 multiplies the gradient of direction i by 1 - eta h_i at every step (LeCun et al.,
1998, section 5). Below 1 / h it shrinks without a change of sign (over-damped). Between 1 / h and 2 / h it changes sign at every
step (under-damped: it bounces between the walls of the valley, and consecutive gradients point against each other). Above 2 / h it
grows. The table shows, for rates in units of 1 / h of the steepest direction, the cosine of consecutive gradients at the start, how
often that direction's coordinate changes sign, and how much of the flat coordinate is left after as many steps: a rate that bounces
off the walls travels along the floor of the valley fastest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

CURVATURES = (1.0, 0.02)
"""Of the steep direction and the flat one."""
START = (1.0, 1.0)
RATES = (0.1, 0.5, 1.0, 1.5, 1.9, 2.1)
STEPS = 20

FloatArray = npt.NDArray[np.float64]


def descent(rate: float, steps: int, curvatures: FloatArray, start: FloatArray) -> FloatArray:
    """Return (steps + 1, d), the points of gradient descent on sum_i h_i x_i^2 / 2."""
    points = [start]
    for _ in range(steps):
        points.append(points[-1] - rate * curvatures * points[-1])
    return np.stack(points)


class Row(NamedTuple):
    """What the descent with one rate does. rate: in units of 1 / h of the steepest direction."""

    rate: float
    regime: str
    cosine: float
    sign_changes: int
    left: float
    loss: float


def row(rate: float, steps: int = STEPS) -> Row:
    """Return the row of one rate: cosine is that of the first two gradients, left the share of the flat coordinate that is left."""
    curvatures, start = np.array(CURVATURES), np.array(START)
    points = descent(rate / curvatures.max(), steps, curvatures, start)
    gradients = curvatures * points
    cosine = gradients[0] @ gradients[1] / (np.linalg.norm(gradients[0]) * np.linalg.norm(gradients[1]))
    signs = np.sign(points[:, 0])
    regime = "over-damped" if rate < 1 else "under-damped" if rate < 2 else "divergent"
    return Row(
        rate,
        "at once" if rate == 1 else regime,
        float(cosine),
        int(np.sum(signs[1:] * signs[:-1] < 0)),
        float(points[-1, 1] / start[1]),
        float(curvatures @ points[-1] ** 2 / 2),
    )


def main() -> None:
    """Print the table."""
    print(f"curvatures {CURVATURES[0]} and {CURVATURES[1]}, {STEPS} steps from {START}")
    print(f"{'rate * h':>8}  {'regime':<12} {'cosine':>7} {'sign changes':>12} {'flat left':>9} {'loss':>10}")
    for each in map(row, RATES):
        print(
            f"{each.rate:8.1f}  {each.regime:<12} {each.cosine:7.3f} {each.sign_changes:12d} {each.left:9.3f} {each.loss:10.3g}"
        )


if __name__ == "__main__":
    main()
