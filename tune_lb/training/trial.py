"""The trial: one resolved configuration of one arm, and the facts that follow from it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from tune_lb.budgets import Budget, Epochs
from tune_lb.data.dataset import DataSource
from tune_lb.losses import LossFn
from tune_lb.models.dropout import keyed
from tune_lb.models.stored_weights import StoredWeights
from tune_lb.optimizers.groups import Group
from tune_lb.optimizers.settings import OptimizerSettings
from tune_lb.prediction_errors import PredictionError, as_error
from tune_lb.schedules import Position, Schedule, ScheduleShape
from tune_lb.settings.domain import Choice, Interval
from tune_lb.settings.identity import describe, identity
from tune_lb.settings.plain import made_plain
from tune_lb.settings.setting import Settings, setting
from tune_lb.surface.network_forms import Output, adapted
from tune_lb.training.loss_forms import as_loss, example_loss
from tune_lb.training.part_lists import (
    drawn,
    listed_dimensions,
    listed_names,
    most_evaluations,
    part_lists,
    remedies_of,
    whole_drawn,
)
from tune_lb.training.phase import Phase
from tune_lb.training.plan import BatchSize, Plan, constant_boundaries, joined, walked_boundaries
from tune_lb.training.remedy import Remedy, nested, overrides
from tune_lb.training.trial_columns import as_value, column_name, most_gradient_evaluations, part_columns
from tune_lb.training.trial_problems import PARTS, trial_problems
from tune_lb.training.ways import PRECISIONS

Model = Callable[[tuple[int, ...], int], nn.Module]
"""(shape of one input, number of classes) -> a fresh network."""

Initialize = Callable[[nn.Module], None]
"""Draws the start of a fresh network, in place, from torch's default generator."""


@dataclass(frozen=True)
class Trial(Settings):
    """One resolved configuration of one arm in one split. With several seeds it has several members.

    The learning rate is given as `lr` or per example as `eta_over_b` (lr = eta_over_b * batch_size), never both.
    """

    arm: str
    data: DataSource
    model: Model
    optimizer: OptimizerSettings
    schedule: ScheduleShape
    budget: Budget
    loss: LossFn
    batch_size: int = setting(description="examples per update", low=1)
    lr: float | None = setting(None, "peak learning rate", above=0.0)
    eta_over_b: float | None = setting(None, "peak learning rate per example of the batch", above=0.0)
    split_seed: int = setting(0, "which cut of the data", low=0)
    draws: str = setting("", "salt of the random streams; empty: shared by all arms, so that members pair by seed")
    remedies: tuple[Remedy, ...] = ()
    initialization: Initialize | None = setting(  # noqa: RUF009  (a function is not changed)
        None, "how the network's start is drawn; none: as the network does it itself", added_later=True
    )
    precision: str = setting(
        "fp32", "of the forward pass in training; evaluation stays fp32", one_of=PRECISIONS, added_later=True
    )
    phases: tuple[Phase, ...] = setting((), "what is trained before, in order", added_later=True)
    error: PredictionError | None = setting(None, "what is counted as an error", added_later=True)  # noqa: RUF009
    output: Output | None = setting(None, "what is taken of what the network returns", added_later=True)  # noqa: RUF009
    remedy_lists: tuple[Choice, ...] = setting(
        (), "of an arm: lists of remedies, of each of which one is drawn", added_later=True
    )
    drawn: tuple[tuple[str, Any], ...] = setting((), "what was drawn of lists of parts", added_later=True)

    def __post_init__(self) -> None:
        made_plain(self)
        object.__setattr__(self, "loss", as_loss(self.loss))
        object.__setattr__(self, "error", as_error(self.error))
        lists = tuple(entry for entry in self.remedies if isinstance(entry, Choice))
        object.__setattr__(self, "remedy_lists", self.remedy_lists + lists)
        # their order means nothing, so it must not make another trial
        ordered = sorted((r for r in self.remedies if not isinstance(r, Choice)), key=lambda remedy: remedy.name)
        object.__setattr__(self, "remedies", tuple(ordered))

    @property
    def learning_rate(self) -> float:
        """Return the peak learning rate, whichever way it was given, as the active remedies scale it."""
        if self.lr is None and self.eta_over_b is None:
            raise ValueError(f"arm {self.arm!r} has neither lr nor eta_over_b")
        rate = self.lr if self.lr is not None else float(self.eta_over_b or 0.0) * self.batch_size
        for remedy in self.active:
            rate = remedy.peak_rate(rate, self.batch_size)
        return rate

    @property
    def example_loss(self) -> LossFn:
        """Return the loss as one value per example, whatever form it was given in."""
        return example_loss(self.loss)

    @property
    def active(self) -> list[Remedy]:
        """Return the remedies that change something, innermost first."""
        return nested(self.remedies)

    @property
    def evaluations_per_update(self) -> float:
        """Return the gradient evaluations of one update; where that depends on a searched field, the most."""
        return math.prod(map(most_gradient_evaluations, self.active)) * most_evaluations(part_lists(self))

    def parts(self) -> dict[str, Settings]:
        """Return the nested settings by the prefix of their fields' dimension names."""
        found: dict[str, Settings] = {
            name: getattr(self, name) for name in PARTS if isinstance(getattr(self, name), Settings)
        }
        found |= {f"phase{i}": phase for i, phase in enumerate(self.phases, 1)}
        groups = [group for group in getattr(self.optimizer, "groups", ()) if isinstance(group, Group)]
        found |= {f"group{i}": group for i, group in enumerate(groups, 1)}
        return found | {remedy.name: remedy for remedy in self.remedies}

    def in_phases(self) -> list[Trial]:
        """Return what is trained one after the other, each without phases of its own: the last has this trial's fields."""
        before = [phase for phase in self.phases if phase.epochs != 0]
        own = dataclasses.replace(self, phases=())
        return [self._phase(phase, i) for i, phase in enumerate(before)] + [own._salted(len(before))]

    def _phase(self, phase: Phase, number: int) -> Trial:
        """Return a phase as a trial that has no phases; `number` counts from 0."""
        given: dict[str, Any] = {
            name: getattr(phase, name)
            for name in ("batch_size", "optimizer", "schedule", "remedies")
            if getattr(phase, name) is not None
        }
        if phase.lr is not None or phase.eta_over_b is not None:
            given |= {"lr": phase.lr, "eta_over_b": phase.eta_over_b}
        return dataclasses.replace(self, phases=(), budget=Epochs(phase.epochs), **given)._salted(number)

    def _salted(self, number: int) -> Trial:
        """Return the trial with draws of its own, where phases come before it: the first phase has those of the trial."""
        return self if number == 0 else dataclasses.replace(self, draws=f"{self.draws}/phase{number}")

    def alternatives(self) -> list[tuple[str, Settings]]:
        """Return the settings that a searched part may be (optimizer=over([SGD(), LARS()])), each with the part's name."""
        searched = {name: getattr(self, name) for name in PARTS if isinstance(getattr(self, name), Choice)}
        found = [
            (name, part) for name, domain in searched.items() for part in domain.values if isinstance(part, Settings)
        ]
        listed = [part for choice in self.remedy_lists for entry in choice.values for part in remedies_of(entry)]
        return found + [(part.name, part) for part in listed if isinstance(part, Remedy)]

    def possible_remedies(self) -> list[Remedy]:
        """Return its remedies, and those of its lists."""
        return [*self.remedies, *(part for _, part in self.alternatives() if isinstance(part, Remedy))]

    def dimensions(self) -> dict[str, Interval | Choice]:
        """Return every searched field, those of nested settings included, by column name.

        What is drawn of a list of parts is one, and the fields of its parts are some, each with the condition under which it is
        there (see part_lists).
        """
        lists = part_lists(self)
        listed = {one.field for one in lists}
        found = {name: domain for name, domain in super().dimensions().items() if name not in listed}
        for prefix, part in self.parts().items():
            for name, domain in part.dimensions().items():
                found[column_name(prefix, name)] = domain
        return found | listed_dimensions(lists)

    def part_fields(self) -> list[str]:
        """Return the column names of the fields of nested settings, and of what is drawn of lists of them."""
        lists = part_lists(self)
        parts = [
            *self.parts().items(),
            *(pair for one in lists for label in one.alternatives for pair in one.fields(label)),
        ]
        columns = dict.fromkeys(name for prefix, part in parts for name in part_columns(prefix, part))
        return [*columns, *listed_names(lists)]

    def resolved(self, values: Mapping[str, Any]) -> Trial:
        """Return a copy with the values, by column name, in place of those fields; of a list of parts, what is drawn alone."""
        trial, left = drawn(self, values) if part_lists(self) else (self, dict(values))
        own: dict[str, Any] = {f.name: left.pop(f.name) for f in dataclasses.fields(trial) if f.name in left}
        remedies: list[Remedy] = []
        phases: list[Phase] = []
        groups: list[Group] = []
        for prefix, part in trial.parts().items():
            chosen = {field: left.pop(name) for name, field in part_columns(prefix, part).items() if name in left}
            changed: Any = part.resolved(chosen)
            if isinstance(part, Remedy):
                remedies.append(changed)
            elif isinstance(part, Phase):
                phases.append(changed)
            elif isinstance(part, Group):
                groups.append(changed)
            elif chosen:
                own[prefix] = changed
        if groups:
            own["optimizer"] = dataclasses.replace(own.get("optimizer", trial.optimizer), groups=tuple(groups))
        if left:
            raise KeyError(f"arm {self.arm!r} has no field {next(iter(left))!r}")
        said = {**dict(trial.drawn), **whole_drawn(self, values)}
        parts = {"remedies": tuple(remedies), "phases": tuple(phases), "drawn": tuple(said.items())}
        return dataclasses.replace(trial, **own, **parts)

    def without(self, name: str, batch_size: int) -> Trial:
        """Return the same trial with another batch and without the remedy of a name."""
        others = tuple(remedy for remedy in self.remedies if remedy.name != name)
        return dataclasses.replace(self, batch_size=batch_size, remedies=others)

    def problems(self, where: str = "") -> list[str]:
        """Return every mistake in the trial's own fields and in those of its parts."""
        where = where or f"arm {self.arm!r}"
        return super().problems(where) + trial_problems(self, where)

    def plain_network(self, input_shape: Any, num_classes: int) -> nn.Module:
        """Return a fresh network of the model, called as module(inputs) for one tensor whatever its inputs and outputs are."""
        return adapted(self.model(input_shape, num_classes), input_shape, self.output)

    def network(self, input_shape: Any, num_classes: int) -> nn.Module:
        """Return a fresh network, as the active remedies change it, with keyed dropout in place of torch's."""
        module = self.plain_network(input_shape, num_classes)
        start, own = self.initialization, set(dict(module.named_parameters()) | dict(module.named_buffers()))
        if start is not None and not isinstance(start, StoredWeights):
            start(module)
        for remedy in self.active:
            module = remedy.network(module, input_shape)
        if isinstance(start, StoredWeights):
            start.into(module, needed=own)  # what remedies add, a file of the plain network has not
        return keyed(module)

    def plan(self, num_train: int) -> Plan:
        """Return what the trial amounts to on a train set of num_train examples, its phases joined."""
        if self.phases:
            return joined([trial.plan(num_train) for trial in self.in_phases()])
        evaluations = self.evaluations_per_update
        batch_size: BatchSize | None = None
        for remedy in self.active:
            if overrides(remedy, "batch_size"):
                batch_size = remedy.batch_size(batch_size or (lambda examples: self.batch_size), num_train)
        if batch_size is None:
            boundaries = constant_boundaries(self.budget, num_train, self.batch_size, evaluations)
        else:
            boundaries = walked_boundaries(self.budget, num_train, batch_size, evaluations)
        return Plan(num_train, boundaries, evaluations, self.batch_size)

    def rate(self, plan: Plan) -> Schedule:
        """Return the learning rate as a function of the position: peak times schedule, wrapped by the remedies."""
        peak, shape = self.learning_rate, self.schedule

        def scheduled(position: Position) -> float:
            return peak * shape.factor(position)

        rate: Schedule = scheduled
        for remedy in self.active:
            rate = remedy.schedule(rate, plan)
        return rate

    def values(self) -> dict[str, float]:
        """Return the numbers of the active remedies, which reach the step as tensors."""
        found: dict[str, float] = {}
        for remedy in self.active:
            found |= remedy.values()
        return found

    def columns(self) -> dict[str, Any]:
        """Return the configuration as it stands in a row of the results."""
        row: dict[str, Any] = {
            "arm": self.arm,
            "split_seed": self.split_seed,
            "batch_size": self.batch_size,
            "lr": self.learning_rate,
            "eta_over_b": self.learning_rate / self.batch_size if self.eta_over_b is None else self.eta_over_b,
            "data": describe(self.data),
            "model": describe(self.model),
            "loss": describe(self.loss),
            "precision": self.precision,
            "initialization": None if self.initialization is None else describe(self.initialization),
            "optimizer": type(self.optimizer).__name__,
            "schedule": describe(self.schedule),
            "budget": describe(self.budget),
            "momentum": self.optimizer.effective_momentum(),
            "weight_decay": self.optimizer.weight_decay,
            "remedies": ",".join(remedy.name for remedy in self.active),
        }
        for prefix, part in self.parts().items():
            for column, name in part_columns(prefix, part).items():
                row.setdefault(column, as_value(getattr(part, name)))
        return row | {name: as_value(value) for name, value in self.drawn}

    def trial_id(self, fingerprint: str) -> str:
        """Return the identity: a hash of every field, of the qualified names, and of the data's content; no seeds, no stage."""
        text = json.dumps([identity(self), fingerprint], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def configuration_id(self) -> str:
        """Return what the trial has in common with itself in other blocks: a hash of every field but split_seed and draws."""
        return dataclasses.replace(self, split_seed=0, draws="").trial_id("")
