"""Small trainings with known answers, and the comparators of trajectories that tests share."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import tune_lb.remedies
from tune_lb.data.dataset import DataSet
from tune_lb.data.device import Parts, on_device
from tune_lb.remedies.adaptive_linearization import AdaptiveLinearization
from tune_lb.remedies.adascale import AdaScale
from tune_lb.remedies.adversarial import Adversarial
from tune_lb.remedies.augmentation import Augmentation
from tune_lb.remedies.batch_growth import BatchGrowth
from tune_lb.remedies.conservative import Conservative
from tune_lb.remedies.ema import EMA
from tune_lb.remedies.fisher_noise import FisherNoise
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.gradient_norm_penalty import GradientNormPenalty
from tune_lb.remedies.initial_variance_noise import InitialVarianceNoise
from tune_lb.remedies.label_smoothing import LabelSmoothing
from tune_lb.remedies.lawa import LAWA
from tune_lb.remedies.layer_noise import LayerNoise
from tune_lb.remedies.mixup import Mixup
from tune_lb.remedies.multiplicative_noise import MultiplicativeNoise
from tune_lb.remedies.post_local_sgd import PostLocalSGD
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.scaling import Scaling
from tune_lb.remedies.stability import Stability
from tune_lb.remedies.subsample_batch_norm import SubsampleBatchNorm
from tune_lb.remedies.swa import SWA
from tune_lb.remedies.warm_start import WarmStart
from tune_lb.remedies.warmup import Warmup
from tune_lb.testing.small_training import Clusters, flat, same_bits, same_up_to_rounding, small_trial, trajectory
from tune_lb.testing.small_training import training_of as training
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.gradient import Batch, stack
from tune_lb.training.members import HistoryRow
from tune_lb.training.remedy import Remedy, overrides
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial

__all__ = ["flat", "same_bits", "same_up_to_rounding", "training", "trajectory"]

EXAMPLES: dict[str, list[Remedy]] = {
    "sam": [
        SAM(rho=0.1),
        SAM(rho=0.1, every=2),
        SAM(rho=0.1, p=3.0),
        SAM(rho=0.1, p=1e9, adaptive=True),
        SAM(rho=0.5, adaptive=True),
        SAM(rho=0.1, m=4),
    ],
    "gradient_noise": [GradientNoise(alpha=0.01)],
    "initial_variance_noise": [InitialVarianceNoise(factor=0.1)],
    "layer_noise": [LayerNoise(scale=1.0, profile=((0.1,) * 5, (0.2,) * 5)), LayerNoise(scale=1.0, every=2)],
    "fisher_noise": [FisherNoise(scale=1.0, every=2), FisherNoise(scale=0.5, small_batch_size=4, every=3, decay=0.0)],
    "gradient_norm_penalty": [GradientNormPenalty(coefficient=0.1), GradientNormPenalty(coefficient=0.1, m=4)],
    "adaptive_linearization": [
        AdaptiveLinearization(start=0.5, granularity="unit", every=2, products=3),
        AdaptiveLinearization(start=0.2, delta_plus=0.1, every=2, products=2, orientation="largest"),
    ],
    "multiplicative_noise": [
        MultiplicativeNoise(small_batch_size=2, covariance="isotropic"),
        MultiplicativeNoise(small_batch_size=4, law="bernoulli"),
        MultiplicativeNoise(small_batch_size=2),
    ],
    "ghost_batch_norm": [
        GhostBatchNorm(ghost_batch_size=4, statistics="sequential"),
        GhostBatchNorm(ghost_batch_size=2, statistics="scaled"),
        GhostBatchNorm(ghost_batch_size=4),
    ],
    "subsample_batch_norm": [SubsampleBatchNorm(num_examples=3)],
    "warmup": [Warmup(epochs=1.0)],
    "scaling": [Scaling(base_batch_size=2, power=0.5)],
    "adascale": [AdaScale(small_batch_size=4, decay=0.5), AdaScale(small_batch_size=2)],
    "augmentation": [Augmentation(flip=True, shift=0.2, image_shape=(1, 5))],
    "adversarial": [Adversarial(eps=0.2)],
    "stability": [Stability(alpha=0.1, sigma=0.2)],
    "post_local_sgd": [PostLocalSGD(local_batch_size=2, local_steps=2, start=0.3)],
    "conservative": [Conservative(iterations=2, lam=1.0)],
    "ema": [EMA(half_life=0.5), EMA(half_life=0.5, others=(0.1, 2.0))],
    "swa": [SWA(start=0.25, every=0.5)],
    "lawa": [LAWA(num_snapshots=2, every=0.5)],
    "label_smoothing": [LabelSmoothing(smoothing=0.1)],
    "mixup": [Mixup(alpha=0.4)],
    "warm_start": [WarmStart(epochs=1.0, batch_size_before=4)],
    "batch_growth": [BatchGrowth(initial=2, factor=2.0, every=0.5), BatchGrowth(initial=4, every=1.0, decay=True)],
}

LATER: list[Remedy] = [
    GradientNoise(alpha=0.01, layers="*.bias"),
    GradientNoise(alpha=0.01, on="activation"),
    LayerNoise(scale=1.0, layers="4.*", every=2),
    LayerNoise(scale=1.0, on="activation", layers="1", profile=((0.5,), (0.2,))),
]
"""More examples for the laws: of fields that came when the numbers of those above were already on record."""
"""Active remedies that fit `trial()`; a new file in tune_lb/remedies needs an entry, and gets every law for it."""


@dataclass(frozen=True)
class Blobs(Clusters):
    """The data of the conformance suites, under the name that identities of trials in tests have."""

    def load(self, split_seed: int) -> DataSet:
        """Return three parts of equal size."""
        return replace(super().load(split_seed), name="blobs")


trial = functools.partial(small_trial, data=Blobs())


def refusals(*remedies: Remedy) -> list[str]:
    """Return why the remedies do not go together in `trial()`, as a search would say it before it starts."""
    of = trial(*remedies)
    return of.problems() or check_against_data(of, of.data.load(of.split_seed))


def many_that_compose() -> list[Remedy]:
    """Return the last example of every remedy, but those that do not go with an earlier one."""
    chosen: list[Remedy] = []
    for examples in EXAMPLES.values():
        chosen += [] if refusals(*chosen, examples[-1]) else examples[-1:]
    return chosen


def parts_of(of: Trial) -> Parts:
    return on_device(of.data.load(of.split_seed), "cpu")


def history(running: Training, epochs: float = 1.0) -> list[HistoryRow]:
    """Train to the end and return all rows."""
    rows: list[HistoryRow] = []
    while not running.done:
        rows += running.advance(epochs)
    return rows


def named(value: object) -> str:
    """Return a value as it stands in a test's name, the same in every process: functions are written with their address."""
    return getattr(value, "__name__", str(value))


def remedy_classes() -> list[type[Remedy]]:
    """Return every remedy defined by a file of tune_lb/remedies."""
    modules = [
        importlib.import_module(f"tune_lb.remedies.{found.name}")
        for found in pkgutil.iter_modules(tune_lb.remedies.__path__)
    ]
    return [
        member
        for module in modules
        for member in vars(module).values()
        if isinstance(member, type) and issubclass(member, Remedy) and member.__module__ == module.__name__
    ]


ALL = many_that_compose()
STEADY = [remedy for remedy in ALL if not overrides(remedy, "batch_size")]
"""Those of ALL that leave the size of the batch, and so the number of updates, as it is."""


def batch(
    inputs: Tensor, targets: Tensor, values: dict[str, float], draws: dict[str, Tensor] | None = None, step: int = 0
) -> Batch:
    numbers = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    return Batch(inputs, targets, torch.tensor(step), draws or {}, numbers)


def stacked_batch(batches: list[Batch]) -> Batch:
    """Return one batch per member as one, with a leading member dimension; step and values are shared."""
    inputs, targets = (
        torch.stack([batch.inputs for batch in batches]),
        torch.stack([batch.targets for batch in batches]),
    )
    draws, examples = (
        stack([dict(batch.draws) for batch in batches]),
        stack([dict(batch.examples) for batch in batches]),
    )
    return batches[0]._replace(inputs=inputs, targets=targets, draws=draws, examples=examples)
