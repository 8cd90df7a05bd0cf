"""Metrics, one file per quantity: what is measured on a trained network, leaving it as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tune_lb.lazy import face

if TYPE_CHECKING:
    from tune_lb.metrics.adaptive_sharpness import AdaptiveSharpness as AdaptiveSharpness
    from tune_lb.metrics.anisotropy import Anisotropy as Anisotropy
    from tune_lb.metrics.average_sharpness import AverageSharpness as AverageSharpness
    from tune_lb.metrics.batch_lambda_max import BatchLambdaMax as BatchLambdaMax
    from tune_lb.metrics.gradient_covariance import GradientCovariance as GradientCovariance
    from tune_lb.metrics.gradient_noise_scale import GradientNoiseScale as GradientNoiseScale
    from tune_lb.metrics.keskar import Keskar as Keskar
    from tune_lb.metrics.lambda_max import LambdaMax as LambdaMax
    from tune_lb.metrics.lambda_min import LambdaMin as LambdaMin
    from tune_lb.metrics.layer_lambda_max import LayerLambdaMax as LayerLambdaMax
    from tune_lb.metrics.margin import Margin as Margin
    from tune_lb.metrics.parameter_norm import ParameterNorm as ParameterNorm
    from tune_lb.metrics.participation_ratio import ParticipationRatio as ParticipationRatio
    from tune_lb.metrics.sam_sharpness import SamSharpness as SamSharpness
    from tune_lb.metrics.spectral_norm import SpectralNorm as SpectralNorm
    from tune_lb.metrics.spectrum import Spectrum as Spectrum
    from tune_lb.metrics.top_eigenvalues import TopEigenvalues as TopEigenvalues
    from tune_lb.metrics.trace import Trace as Trace

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "tune_lb.metrics.adaptive_sharpness": "AdaptiveSharpness",
        "tune_lb.metrics.anisotropy": "Anisotropy",
        "tune_lb.metrics.average_sharpness": "AverageSharpness",
        "tune_lb.metrics.batch_lambda_max": "BatchLambdaMax",
        "tune_lb.metrics.gradient_covariance": "GradientCovariance",
        "tune_lb.metrics.gradient_noise_scale": "GradientNoiseScale",
        "tune_lb.metrics.keskar": "Keskar",
        "tune_lb.metrics.lambda_max": "LambdaMax",
        "tune_lb.metrics.lambda_min": "LambdaMin",
        "tune_lb.metrics.layer_lambda_max": "LayerLambdaMax",
        "tune_lb.metrics.margin": "Margin",
        "tune_lb.metrics.parameter_norm": "ParameterNorm",
        "tune_lb.metrics.participation_ratio": "ParticipationRatio",
        "tune_lb.metrics.sam_sharpness": "SamSharpness",
        "tune_lb.metrics.spectral_norm": "SpectralNorm",
        "tune_lb.metrics.spectrum": "Spectrum",
        "tune_lb.metrics.top_eigenvalues": "TopEigenvalues",
        "tune_lb.metrics.trace": "Trace",
    },
)
