"""One member as a Ray Tune trainable: for Tuners, searchers and schedulers of one's own (docs/ray_tune.md)."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ray import tune
from torch import Tensor

from tune_lb.data.device import OnDevice
from tune_lb.errors import RequestError, nearest
from tune_lb.metrics.metric import Metric
from tune_lb.observation.outcome import outcomes
from tune_lb.results.storage import Store
from tune_lb.settings.active import is_active
from tune_lb.settings.plain import plain
from tune_lb.space.designs import ArmDesign, field_names
from tune_lb.training.phased_training import begun
from tune_lb.training.running import Running
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial
from tune_lb.tuning.checkpoints import decoded, encoded
from tune_lb.tuning.data_loading import LoadedData
from tune_lb.tuning.ray_domains import value_of

FILE = "member.safetensors"
"""A checkpoint's one file."""

RATES = {"lr": "eta_over_b", "eta_over_b": "lr"}
LOSSES = ("train_loss", "validation_loss", "test_loss")


@dataclass(frozen=True)
class OwnArm:
    """What a worker must know of the arm whose members it trains. way: how they are trained (tune_lb.training.ways)."""

    design: ArmDesign
    data: LoadedData
    way: str
    seed: int = 0
    split_seed: int = 0
    metrics: tuple[Metric, ...] = ()
    microbatch: int | str | None = None

    def member(self, config: Mapping[str, Any]) -> tuple[Trial, int]:
        """Return the trial and the seed of a configuration of Ray's. Raises RequestError for one that the arm does not have.

        Keys are column names (sam.rho): what the arm searches, any other field that an override may name, seed and split_seed.
        """
        design, template = self.design, self.design.template
        where = f"arm {design.name!r}"
        given = {str(name): plain(value) for name, value in config.items()}
        seed, split_seed = int(given.pop("seed", self.seed)), int(given.pop("split_seed", self.split_seed))
        dimensions = design.dimensions
        known = [*field_names(template), *dimensions]
        unknown = [name for name in given if name not in known]
        if unknown:
            names = dict.fromkeys([*known, "seed", "split_seed"])
            raise RequestError(f"{where} has no field {unknown[0]!r}{nearest(unknown[0], names)}")
        values = {
            name: value_of(dimensions[name], value, f"{where}: {name}") if name in dimensions else value
            for name, value in given.items()
        }
        values |= {RATES[name]: None for name in RATES if name in values and RATES[name] not in values}
        missing = [name for name, domain in dimensions.items() if name not in values and is_active(domain, values)]
        if missing:
            raise RequestError(
                f"{where} searches {', '.join(missing)}, for which the configuration has no value; param_space(SPACE, "
                f"arm={design.name!r}) gives all"
            )
        trial = template.resolved(values | {"split_seed": split_seed})
        problems = trial.problems(where)
        if problems:
            raise RequestError(problems)
        return trial, seed


class MemberTrainable(tune.Trainable):  # type: ignore[misc]
    """Trains one member of an arm, an epoch at a time; `tune_lb.tuning.trainable` makes one for an arm.

    Every result has the columns of a member's row that are known then: its settings, arm, seed, split_seed, configuration_id,
    epochs, updates, gradient_evaluations, examples, wall_s, and clean train and validation loss and error. The last one has its
    test errors and what metrics measure too, and status completed or diverged (before: unfinished). A diverged member ends at
    once, with the errors of chance and infinite losses, which schedulers and searchers take for bad, as they do not a NaN.

    A scheduler may put another configuration in the place of the one that a checkpoint was made of: training goes on from its
    weights and optimizer state at the same number of examples, rounded down to whole updates. The column configurations tells
    from which epoch on each was trained. What changes the form of what is kept (another optimizer) is refused with RequestError.
    """

    own: OwnArm
    trial: Trial
    seed: int
    training: Running
    wall_s: float
    configurations: list[Any]
    """What was trained: pairs of the epoch from which on, and the configuration."""

    def setup(self, config: dict[str, Any], own: OwnArm) -> None:
        """Begin the member of a configuration."""
        self.own = own
        self.on_device = OnDevice(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another member in the same process, from which nothing of the one before is left."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train an epoch, or to the end where less is left, and return the row so far."""
        started = time.perf_counter()
        self.training.advance()
        self.wall_s += time.perf_counter() - started
        if not self.training.done:
            return self._row() | {row.name: row.value for row in self.training.evaluate()}
        (outcome,) = outcomes(self.training, metrics=self.own.metrics, wall_s=self.wall_s)
        found = {name: value for name, value in outcome.row.items() if value is not None}
        if found["status"] == "diverged":
            found |= dict.fromkeys(LOSSES, math.inf)
        return self._row() | found | {"done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write all that the next epoch depends on, as one safetensors file with its checksum."""
        training = self.training
        state = {
            "examples": training.plan.boundaries[training.step],
            "num_examples": training.plan.num_examples,
            "updates": training.plan.num_updates,
            "wall_s": self.wall_s,
            "optimizer": type(self.trial.optimizer).__name__,
            "configurations": self.configurations,
        }
        Store(checkpoint_dir).write(FILE, encoded(training.checkpoint(), state))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from a checkpoint, of this configuration or another of the arm. Raises RequestError where that cannot be."""
        tensors, state = decoded(Store(str(checkpoint)).read(FILE))
        before: list[Any] = state["configurations"]
        now: dict[str, Any] = self.configurations[-1][1]
        changed = [name for name, value in now.items() if before[-1][1].get(name) != value]
        try:
            if state["optimizer"] != type(self.trial.optimizer).__name__:
                raise ValueError(f"{state['optimizer']}'s state is none of {type(self.trial.optimizer).__name__}'s")
            self.training.restore(self._at_examples(tensors, state))
        except (LookupError, RuntimeError, ValueError) as error:
            names = ", ".join(changed) or "its code"
            raise RequestError(
                f"arm {self.own.design.name!r}: training cannot go on from a checkpoint with another {names}: what is kept has "
                f"another form ({' '.join(str(error).split()):.120}); let the scheduler leave it as it is"
            ) from error
        self.wall_s = state["wall_s"]
        self.configurations = before + ([[self.training.epoch, now]] if changed else [])

    def _begin(self, config: Mapping[str, Any]) -> None:
        self.trial, self.seed = self.own.member(config)
        parts = self.on_device.parts(self.own.data.of(self.trial)[self.trial.split_seed])
        self.training = begun(self.trial, [self.seed], parts, execution=self.own.way, microbatch=self.own.microbatch)
        self.wall_s = 0.0
        self.configurations = [[0.0, {str(name): plain(value) for name, value in config.items()}]]

    def _at_examples(self, tensors: dict[str, Tensor], state: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return a checkpoint at the step of this plan that has seen as many examples."""
        plan = self.training.plan
        if (plan.num_updates, plan.num_examples) == (state["updates"], state["num_examples"]):
            return tensors
        if not isinstance(self.training, Training):
            raise ValueError("its phases have other lengths")
        step = min(bisect.bisect_right(plan.boundaries, state["examples"]) - 1, plan.num_updates)
        return tensors | {"0/step": torch.tensor(step)}

    def _row(self) -> dict[str, Any]:
        training, step = self.training, self.training.step
        settings = {name: value for name, value in self.trial.columns().items() if value is not None}
        return settings | {
            "seed": self.seed,
            "configuration_id": self.trial.configuration_id(),
            "configurations": _said(self.configurations),
            "status": "unfinished",
            "epochs": training.epoch,
            "updates": step,
            "gradient_evaluations": round(step * training.plan.evaluations_per_update),
            "examples": training.plan.boundaries[step],
            "wall_s": self.wall_s,
        }


def _said(configurations: Sequence[Any]) -> str:
    """Return the configurations that were trained, in words: from which epoch on, and what it was."""
    lines = []
    for epoch, values in configurations:
        each = ", ".join(
            f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
        )
        lines.append(f"{epoch:g}: {each}")
    return " | ".join(lines)
