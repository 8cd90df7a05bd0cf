"""The walk of Xing et al. (2018): SGD without momentum at a constant rate, every update of chosen epochs looked at."""

from __future__ import annotations

from typing import Any

from search_spaces._published import UNTUNED, at_batches, word
from tune_lb import Arm, Epochs, InTrainMode, Space, Walk, Watch
from tune_lb.metrics import SpectralNorm
from tune_lb.optimizers import SGD
from tune_lb.schedules import Constant


def walked(
    *,
    sizes: tuple[int, ...],
    rates: tuple[float, ...],
    epochs: float,
    watched: tuple[int, ...],
    looks: int,
    max_samples: int,
    walked_samples: int | None = None,
    splits: tuple[str, ...] = ("train",),
    **settings: Any,
) -> Space:
    """Return an arm for each batch size at the base rate, and for each further rate at the base batch of 100.

    watched: epochs whose updates are looked at, with losses over walked_samples examples (None: all). looks: epochs from one
    spectral norm, on max_samples examples with batch norm in train mode, to the next.
    """
    return Space(
        optimizer=SGD(momentum=0.0),
        schedule=Constant(),
        budget=Epochs(epochs),
        arms=(
            *at_batches(sizes),
            *(Arm(f"batch_100_lr_{word(rate)}", batch_size=100, lr=rate) for rate in rates),
        ),
        baseline="batch_100",
        reference=f"batch_{sizes[-1]}",
        confirm_blocks=2,
        watched_blocks=1,
        walk=Walk(epochs=watched, max_samples=walked_samples),
        watch=Watch(
            metrics=(InTrainMode(SpectralNorm(max_samples=max_samples, tolerance=1e-2), batch_size=100),),
            every_epochs=looks,
            splits=splits,
        ),
        **(UNTUNED | settings),
    )
