"""Small remedies that use one hook each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from tune_lb.settings.setting import setting
from tune_lb.training.remedy import Remedy


@dataclass(frozen=True)
class Hooked(Remedy):
    """A remedy that is on; its subclasses each use one hook."""

    name: ClassVar[str] = "hooked"

    size: float = setting(0.0, "whatever the hook makes of it")

    def is_neutral(self):
        return False


@dataclass(frozen=True)
class Averaged(Hooked):
    """Evaluates an exponential moving average of the weights, and remembers their largest norm."""

    def initial_state(self, params):
        return {f"ema.{name}": value.clone() for name, value in params.items()} | {
            "largest": torch.tensor(0.0).double()
        }

    def after_step(self, state, params, batch):
        length = torch.stack([value.norm() for value in params.values()]).norm()
        new = {f"ema.{name}": state[f"ema.{name}"].lerp(value, 0.3) for name, value in params.items()}
        return new | {"largest": torch.maximum(state["largest"], length)}

    def evaluated(self, params, state):
        return {name: state[f"ema.{name}"] for name in params}
