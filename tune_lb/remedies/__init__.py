"""Remedies, one file each: what changes how training is done, with fields that can be searched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tune_lb.lazy import face

if TYPE_CHECKING:
    from tune_lb.remedies.adaptive_linearization import AdaptiveLinearization as AdaptiveLinearization
    from tune_lb.remedies.adascale import AdaScale as AdaScale
    from tune_lb.remedies.adversarial import Adversarial as Adversarial
    from tune_lb.remedies.augmentation import Augmentation as Augmentation
    from tune_lb.remedies.batch_growth import BatchGrowth as BatchGrowth
    from tune_lb.remedies.conservative import Conservative as Conservative
    from tune_lb.remedies.ema import EMA as EMA
    from tune_lb.remedies.fisher_noise import FisherNoise as FisherNoise
    from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm as GhostBatchNorm
    from tune_lb.remedies.gradient_noise import GradientNoise as GradientNoise
    from tune_lb.remedies.gradient_norm_penalty import GradientNormPenalty as GradientNormPenalty
    from tune_lb.remedies.initial_variance_noise import InitialVarianceNoise as InitialVarianceNoise
    from tune_lb.remedies.label_smoothing import LabelSmoothing as LabelSmoothing
    from tune_lb.remedies.lawa import LAWA as LAWA
    from tune_lb.remedies.layer_noise import LayerNoise as LayerNoise
    from tune_lb.remedies.mixup import Mixup as Mixup
    from tune_lb.remedies.multiplicative_noise import MultiplicativeNoise as MultiplicativeNoise
    from tune_lb.remedies.post_local_sgd import PostLocalSGD as PostLocalSGD
    from tune_lb.remedies.sam import SAM as SAM
    from tune_lb.remedies.scaling import Scaling as Scaling
    from tune_lb.remedies.stability import Stability as Stability
    from tune_lb.remedies.subsample_batch_norm import SubsampleBatchNorm as SubsampleBatchNorm
    from tune_lb.remedies.swa import SWA as SWA
    from tune_lb.remedies.warm_start import WarmStart as WarmStart
    from tune_lb.remedies.warmup import Warmup as Warmup

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "tune_lb.remedies.adaptive_linearization": "AdaptiveLinearization",
        "tune_lb.remedies.adascale": "AdaScale",
        "tune_lb.remedies.adversarial": "Adversarial",
        "tune_lb.remedies.augmentation": "Augmentation",
        "tune_lb.remedies.batch_growth": "BatchGrowth",
        "tune_lb.remedies.conservative": "Conservative",
        "tune_lb.remedies.ema": "EMA",
        "tune_lb.remedies.fisher_noise": "FisherNoise",
        "tune_lb.remedies.ghost_batch_norm": "GhostBatchNorm",
        "tune_lb.remedies.gradient_noise": "GradientNoise",
        "tune_lb.remedies.gradient_norm_penalty": "GradientNormPenalty",
        "tune_lb.remedies.initial_variance_noise": "InitialVarianceNoise",
        "tune_lb.remedies.label_smoothing": "LabelSmoothing",
        "tune_lb.remedies.lawa": "LAWA",
        "tune_lb.remedies.layer_noise": "LayerNoise",
        "tune_lb.remedies.mixup": "Mixup",
        "tune_lb.remedies.multiplicative_noise": "MultiplicativeNoise",
        "tune_lb.remedies.post_local_sgd": "PostLocalSGD",
        "tune_lb.remedies.sam": "SAM",
        "tune_lb.remedies.scaling": "Scaling",
        "tune_lb.remedies.stability": "Stability",
        "tune_lb.remedies.subsample_batch_norm": "SubsampleBatchNorm",
        "tune_lb.remedies.swa": "SWA",
        "tune_lb.remedies.warm_start": "WarmStart",
        "tune_lb.remedies.warmup": "Warmup",
    },
)
