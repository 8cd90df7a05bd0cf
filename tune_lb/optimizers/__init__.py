"""Optimisers as frozen dataclasses: torch's element-wise ones, and layer-wise ones in a file each.

Parameters may be stacked members: every tensor then has a leading member dimension. Element-wise updates are the same to the
last bit with and without it; layer-wise ones (LARS, LAMB, Muon) are told of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tune_lb.lazy import face

if TYPE_CHECKING:
    from tune_lb.optimizers.elementwise import SGD as SGD
    from tune_lb.optimizers.elementwise import AdaGrad as AdaGrad
    from tune_lb.optimizers.elementwise import Adam as Adam
    from tune_lb.optimizers.elementwise import AdamW as AdamW
    from tune_lb.optimizers.elementwise import RMSprop as RMSprop
    from tune_lb.optimizers.groups import Group as Group
    from tune_lb.optimizers.lamb import LAMB as LAMB
    from tune_lb.optimizers.lars import LARS as LARS
    from tune_lb.optimizers.muon import Muon as Muon
    from tune_lb.optimizers.settings import OptimizerSettings as OptimizerSettings

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "tune_lb.optimizers.elementwise": "SGD AdaGrad Adam AdamW RMSprop",
        "tune_lb.optimizers.groups": "Group",
        "tune_lb.optimizers.lamb": "LAMB",
        "tune_lb.optimizers.lars": "LARS",
        "tune_lb.optimizers.muon": "Muon",
        "tune_lb.optimizers.settings": "OptimizerSettings",
    },
)
