"""A fair hyperparameter search for large-batch training.

Everything that a search space needs is here, and in tune_lb.remedies, .metrics, .models, .data, .optimizers, .samplers,
.schedules, .budgets and .losses. Importing this package imports nothing heavy: names are loaded when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tune_lb.lazy import face

if TYPE_CHECKING:
    from tune_lb.budgets import Epochs as Epochs
    from tune_lb.metrics.measuring import measure as measure
    from tune_lb.observation.metric_variants import InTrainMode as InTrainMode
    from tune_lb.observation.metric_variants import OnCrossEntropy as OnCrossEntropy
    from tune_lb.results.stored_points import points_of as points_of
    from tune_lb.settings.domain import over as over
    from tune_lb.settings.setting import Settings as Settings
    from tune_lb.settings.setting import setting as setting
    from tune_lb.space.arm import Arm as Arm
    from tune_lb.space.experiment import Experiment as Experiment
    from tune_lb.space.halving import Halving as Halving
    from tune_lb.space.observation import Walk as Walk
    from tune_lb.space.observation import Watch as Watch
    from tune_lb.space.space import Space as Space
    from tune_lb.space.until import Until as Until
    from tune_lb.training.phase import Phase as Phase
    from tune_lb.training.remedy import Remedy as Remedy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "tune_lb.budgets": "Epochs",
        "tune_lb.metrics.measuring": "measure",
        "tune_lb.observation.metric_variants": "InTrainMode OnCrossEntropy",
        "tune_lb.results.stored_points": "points_of",
        "tune_lb.settings.domain": "over",
        "tune_lb.settings.setting": "Settings setting",
        "tune_lb.space.arm": "Arm",
        "tune_lb.space.experiment": "Experiment",
        "tune_lb.space.observation": "Walk Watch",
        "tune_lb.space.space": "Space",
        "tune_lb.space.halving": "Halving",
        "tune_lb.space.until": "Until",
        "tune_lb.training.phase": "Phase",
        "tune_lb.training.remedy": "Remedy",
    },
)
