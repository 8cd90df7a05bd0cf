"""Samplers by name: what the command line is given as text. Nothing heavy is imported for the list of names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import tune_lb.samplers

if TYPE_CHECKING:
    from tune_lb.samplers.sampler import Sampler

NAMES: Final = {
    "sobol": "Sobol",
    "random": "Random",
    "grid": "Grid",
    "tpe": "TPE",
    "gp": "GaussianProcess",
    "cmaes": "CMAES",
    "nsga2": "NSGA2",
}


def sampler_named(name: str) -> Sampler | None:
    """Return the sampler of a name, with its default settings; None where there is no such name."""
    if name not in NAMES:
        return None
    found: Sampler = getattr(tune_lb.samplers, NAMES[name])()
    return found
