"""Recipes: a trial as plain PyTorch code, to be pasted into a program that knows nothing of tune_lb.

The code does what training does, update by update; the test compares the two.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tune_lb.budgets import Epochs
from tune_lb.data.dataset import DataSet
from tune_lb.losses import cross_entropy
from tune_lb.recipe import templates
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.scaling import Scaling
from tune_lb.remedies.warmup import Warmup
from tune_lb.schedules import Constant, Cosine
from tune_lb.training.remedy import Remedy
from tune_lb.training.trial import Trial

WRITTEN_OUT = (GhostBatchNorm, GradientNoise, SAM, Warmup)


def recipe(trial: Trial, data: DataSet, facts: Sequence[str]) -> str:
    """Return the Python file of a trial, with the facts as its first lines."""
    code = _Code(trial, data)
    header = "\n".join(line.replace("\\", "/").replace('"""', "'''") for line in facts)
    parts = [
        f'"""{header}\n"""',
        "\n".join(code.imports()),
        "\n".join(code.constants()),
        code.model(),
        *code.remedies(),
        code.backward(),
        templates.BATCHES,
        code.learning_rate(),
        code.train(),
        *code.recalibrate(),
        templates.ERROR,
        code.main(),
    ]
    return "\n\n\n".join(part.strip("\n") for part in parts) + "\n"


class _Code:
    """The parts of a recipe."""

    def __init__(self, trial: Trial, data: DataSet) -> None:
        self.trial, self.data = trial, data
        self.active = {type(remedy): remedy for remedy in trial.active}
        self.module = trial.model(data.input_shape, data.num_classes)
        self.has_batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.module.modules())
        # the last phase is written out, those before it are named
        self.plan = trial.in_phases()[-1].plan(len(data.train.targets))

    def remedy(self, kind: type[Remedy]) -> Any:
        """Return the active remedy of that kind, None where there is none."""
        remedy = self.active.get(kind)
        return remedy if remedy is not None and self.is_written_out(remedy) else None

    def is_written_out(self, remedy: Remedy) -> bool:
        """Say whether the code does what the remedy does: of those known, what fields added later can say is not."""
        fields = dataclasses.fields(remedy)
        later = [getattr(remedy, f.name) == f.default for f in fields if f.metadata.get("added_later")]
        return isinstance(remedy, WRITTEN_OUT) and all(later)

    def imports(self) -> list[str]:
        """Return the import lines; what cannot be written out is imported from where the space found it."""
        lines = ["import math", "", "import torch", "import torch.nn.functional as F", "from torch import nn"]
        own = [_import(self.trial.data)]
        own += [] if self._is_plain_model() else [_import(self.trial.model)]
        own += [] if self.trial.loss is cross_entropy else [_import(self.trial.loss)]
        if not isinstance(self.trial.schedule, Cosine | Constant):
            own += [_import(self.trial.schedule), "from tune_lb.schedules import Position"]
        own += [] if self.trial.initialization is None else [_import(self.trial.initialization)]
        if not type(self._built()).__module__.startswith("torch.optim"):
            own.append(_import(self._built()))
        return [*lines, "", *sorted(set(own))]

    def constants(self) -> list[str]:
        """Return the numbers, to all their digits."""
        trial, budget = self.trial, self.trial.budget
        per_example = f"  # {trial.learning_rate / trial.batch_size:.4g} per example of the batch"
        lines = [f"BATCH_SIZE = {trial.batch_size}", f"LEARNING_RATE = {trial.learning_rate!r}{per_example}"]
        if isinstance(budget, Epochs):
            lines.append(f"EPOCHS = {budget.epochs!r}")
        else:
            spent = f"{self.plan.num_epochs:.4g} epochs of {self.plan.num_train} examples"
            lines.append(f"NUM_UPDATES = {self.plan.num_updates}  # {spent}")
        lines += [f"# NOT WRITTEN OUT: start from the weights after {phase!r}" for phase in trial.phases]
        if trial.precision != "fp32":
            lines.append(
                f"# NOT WRITTEN OUT: precision {trial.precision}: forward passes of training under torch.autocast"
            )
        for remedy in trial.active:
            if isinstance(remedy, Scaling):
                lines.append(f"# LEARNING_RATE is scaled to the batch: {remedy!r}")
                continue
            own = [field.name for field in dataclasses.fields(remedy) if not field.metadata.get("added_later")]
            values = {name: getattr(remedy, name) for name in own}
            prefix = remedy.name.upper()
            if self.is_written_out(remedy):
                lines += [f"{_constant(prefix, name)} = {value!r}" for name, value in values.items()]
            else:
                lines.append(f"# NOT WRITTEN OUT: {remedy!r}")
                lines.append(f"# a remedy from {type(remedy).__module__}: do here what its hooks do")
        return lines

    def model(self) -> str:
        """Return build_model(): layer by layer where the network is a plain sequence, else a call of what made it."""
        if self._is_plain_model():
            layers = "\n".join(f"        nn.{layer!r}," for layer in self.module.children())
            made = f"nn.Sequential(\n{layers}\n    )"
        else:
            made = f"{_expression(self.trial.model)}({self.data.input_shape!r}, {self.data.num_classes})"
        wrapped = f"with_ghost_batch_norm({made})" if self.remedy(GhostBatchNorm) else made
        start = self.trial.initialization
        if start is None:
            return f"def build_model():\n    return {wrapped}"
        return f"def build_model():\n    model = {wrapped}\n    {_expression(start)}(model)\n    return model"

    def remedies(self) -> list[str]:
        """Return the definitions that the remedies need."""
        return [templates.GHOST] if self.remedy(GhostBatchNorm) else []

    def backward(self) -> str:
        """Return the functions that leave a gradient in .grad."""
        if self.trial.loss is cross_entropy:
            loss = "F.cross_entropy(model(x), y)"
        else:
            loss = f"{_expression(self.trial.loss)}(model(x), y).mean()"
        sam = self.remedy(SAM)
        if sam is None:
            return templates.PLAIN.replace("LOSS", loss)
        if sam.m is None:
            return templates.SAM.replace("LOSS", loss)
        inner = templates.SAM.replace("LOSS", loss).replace("def backward(", "def backward_of_piece(")
        return inner.strip("\n") + "\n\n\n" + templates.SAM_BY_PIECES.strip("\n")

    def learning_rate(self) -> str:
        """Return the rate as a function of the step."""
        schedule = self.trial.schedule
        if isinstance(schedule, Cosine):
            final = schedule.final
            cosine = "(1 + math.cos(math.pi * step / num_updates)) / 2"
            rate = (
                f"LEARNING_RATE * {cosine}" if final == 0 else f"LEARNING_RATE * ({final!r} + {1 - final!r} * {cosine})"
            )
        elif isinstance(schedule, Constant):
            rate = "LEARNING_RATE"
        else:
            seen = "step * BATCH_SIZE, (step + 1) * BATCH_SIZE, num_updates * BATCH_SIZE"
            position = f"Position(step, BATCH_SIZE, {seen}, num_examples)"
            rate = f"LEARNING_RATE * {_expression(schedule)}.factor({position})"
        lines = ["def learning_rate(step, num_updates, num_examples):", f"    rate = {rate}"]
        if self.remedy(Warmup):
            lines.append("    rate *= min(1.0, (step + 1) * BATCH_SIZE / (WARMUP_EPOCHS * num_examples))")
        return "\n".join([*lines, "    return rate"])

    def train(self) -> str:
        """Return the loop."""
        updates = (
            "int(EPOCHS * len(inputs) / BATCH_SIZE + 1e-9)" if isinstance(self.trial.budget, Epochs) else "NUM_UPDATES"
        )
        noise = templates.NOISE if self.remedy(GradientNoise) else ""
        return (
            templates.TRAIN.replace("UPDATES", updates)
            .replace("OPTIMIZER", self._optimizer())
            .replace("        NOISE\n", noise)
        )

    def recalibrate(self) -> list[str]:
        """Return the function that brings batch-norm statistics up to date, where there are any."""
        if not self.has_batch_norm:
            return []
        lines = templates.RECALIBRATE.splitlines()
        return ["\n".join(line for line in lines if "whole_batch" not in line or self.remedy(GhostBatchNorm))]

    def main(self) -> str:
        """Return what runs when the file is run: the data of the search, one training, its test error."""
        load = f"{_expression(self.trial.data)}.load({self.trial.split_seed})"
        recalibrate = "    recalibrate(model, inputs)\n" if self.has_batch_norm else ""
        return templates.MAIN.replace("LOAD", load).replace("    RECALIBRATE\n", recalibrate)

    def _built(self) -> torch.optim.Optimizer:
        return self.trial.optimizer.build([torch.zeros(1, requires_grad=True)], self.trial.learning_rate)

    def _optimizer(self) -> str:
        built = self._built()
        known = inspect.signature(type(built)).parameters
        changed = {
            name: value
            for name, value in built.defaults.items()
            if name in known and name not in ("lr", "foreach") and value != known[name].default
        }
        options = "".join(f", {name}={value!r}" for name, value in changed.items())
        name = type(built).__name__
        name = f"torch.optim.{name}" if type(built).__module__.startswith("torch.optim") else name
        return f"{name}(model.parameters(), lr=LEARNING_RATE{options})"

    def _is_plain_model(self) -> bool:
        # layers of torch.nn print themselves as the call that makes them
        layers = list(self.module.children())
        plain = all(type(part).__module__.startswith("torch.nn.") and not list(part.children()) for part in layers)
        return type(self.module) is nn.Sequential and plain


def _constant(prefix: str, name: str) -> str:
    """Return SAM_RHO for sam.rho, and GHOST_BATCH_SIZE for ghost_batch_norm.ghost_batch_size."""
    return name.upper() if prefix == "GHOST_BATCH_NORM" else f"{prefix}_{name.upper()}"


def _import(value: Any) -> str:
    named = value if inspect.isfunction(value) or inspect.isclass(value) else type(value)
    return f"from {named.__module__} import {named.__qualname__.partition('.')[0]}"


def _expression(value: Any) -> str:
    return str(value.__qualname__) if inspect.isfunction(value) or inspect.isclass(value) else repr(value)
