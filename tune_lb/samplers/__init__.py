"""Samplers: which configuration an arm tries next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tune_lb.lazy import face

if TYPE_CHECKING:
    from tune_lb.samplers.cma_es import CMAES as CMAES
    from tune_lb.samplers.gaussian_process import GaussianProcess as GaussianProcess
    from tune_lb.samplers.grid import Grid as Grid
    from tune_lb.samplers.nsga2 import NSGA2 as NSGA2
    from tune_lb.samplers.quasi_random import Random as Random
    from tune_lb.samplers.quasi_random import Sobol as Sobol
    from tune_lb.samplers.sampler import Sampler as Sampler
    from tune_lb.samplers.tpe import TPE as TPE

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "tune_lb.samplers.cma_es": "CMAES",
        "tune_lb.samplers.gaussian_process": "GaussianProcess",
        "tune_lb.samplers.grid": "Grid",
        "tune_lb.samplers.nsga2": "NSGA2",
        "tune_lb.samplers.quasi_random": "Random Sobol",
        "tune_lb.samplers.sampler": "Sampler",
        "tune_lb.samplers.tpe": "TPE",
    },
)
