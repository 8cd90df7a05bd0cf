"""Exponential moving average of the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, Params
from tune_lb.training.remedy import Remedy, State


@dataclass(frozen=True)
class EMA(Remedy):
    """Evaluate an average of the weights that forgets half of itself in so many epochs.

    avg_t = sum_s d_s^t w_s (1 - d_s) / sum_s d_s^t (1 - d_s) over the updates s = 1 .. t, d_s^t the product of the decays after
    s,  d = 2^(-B / (half_life N)) the decay of an update of B examples.

    Source: Polyak and Juditsky, 1992, in the exponential form of Tarvainen and Valpola, 2017, with the correction of Kingma
    and Ba, 2015, section 3: the start has no weight. The length is in examples, so it means the same at every batch.
    The training itself is untouched. Errors and metrics are those of the average, batch-norm statistics recomputed for it; the
    columns train_error@last, ... are those of the last weights, @ema_<h> those of each further half-life in `others`.
    Neutral: half_life = 0 and no others.
    Cost: one pass over the weights per update and average; evaluation once more for each further average.
    Trap: with a rate that falls to 0 the last weights are an average already; the window is to be short (1 % of the training).
    """

    name: ClassVar[str] = "ema"

    half_life: float = setting(
        0.0,
        "updates of so many epochs lose half their weight; 0 is no average",
        low=0.0,
        suggested=over(0.05, 2.0, log=True),
    )
    others: tuple[float, ...] = setting((), "further half-lives, measured in the same run, epochs")

    def problems(self, where: str = "") -> list[str]:
        """Also refuse further half-lives that are none."""
        found = super().problems(where)
        wrong = [value for value in self.others if not isinstance(value, int | float) or not 0 < value < math.inf]
        return found + [
            f"{where or 'EMA'}.others = {self.others}: {value!r} must be above 0, in epochs" for value in wrong
        ]

    def is_neutral(self) -> bool:
        """Without a half-life nothing is averaged."""
        return self.half_life == 0 and not self.others

    def initial_state(self, params: Params) -> State:
        """Return averages of nothing: index 0 is the main one; total is the sum of their terms' weights."""
        state: State = {}
        for index in range(1 + len(self.others)):
            state[f"{index}.total"] = next(iter(params.values())).new_zeros(())
            state |= {f"{index}.average.{name}": torch.zeros_like(value) for name, value in params.items()}
        return state

    def after_step(self, state: State, params: Params, batch: Batch) -> State:
        """Return the averages with these weights added."""
        fraction = batch.size / batch.values["plan.num_train"]
        new: State = {}
        main = batch.values["ema.half_life"]
        for index, half_life in enumerate((main, *(torch.as_tensor(value, dtype=main.dtype) for value in self.others))):
            # 1 - d without loss of digits; a half-life of 0 forgets everything
            gained = -torch.expm1(-math.log(2.0) * fraction / half_life)
            total = state[f"{index}.total"] * (1.0 - gained) + gained
            new[f"{index}.total"] = total
            for name, value in params.items():
                key = f"{index}.average.{name}"
                new[key] = torch.lerp(state[key], value, gained / total)
        return new

    def evaluated(self, params: Params, state: State) -> Params:
        """Return the main average; before the first update the weights themselves."""
        return params if self.half_life == 0 else _average(state, 0, params)

    def alternatives(self, params: Params, state: State) -> dict[str, Params]:
        """Return the last weights and the further averages."""
        averages = [_average(state, index, params) for index in range(1, 1 + len(self.others))]
        return dict(zip(self.alternative_names(), [params, *averages], strict=True))

    def alternative_names(self) -> tuple[str, ...]:
        """Return last, ema_<half-life>, ..."""
        return ("last", *(f"ema_{value:g}" for value in self.others))


def _average(state: State, index: int, params: Params) -> Params:
    def chosen(name: str, value: Tensor) -> Tensor:
        return torch.where(state[f"{index}.total"] > 0, state[f"{index}.average.{name}"], value)

    return {name: chosen(name, value) for name, value in params.items()}
