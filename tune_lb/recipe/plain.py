"""The recipe of a trial as plain PyTorch: the code does what training does, update by update; the test compares the two."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tune_lb.budgets import Epochs
from tune_lb.data.dataset import DataSet
from tune_lb.losses import cross_entropy
from tune_lb.recipe import templates
from tune_lb.recipe.expressions import Expressions
from tune_lb.recipe.layers import layers_code
from tune_lb.recipe.optimizers import optimizer_code
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.scaling import Scaling
from tune_lb.remedies.warmup import Warmup
from tune_lb.schedules import Constant, Cosine, Position
from tune_lb.streams import seeded
from tune_lb.surface.evaluation_mode import chunk_size
from tune_lb.training.clipping import clips
from tune_lb.training.remedy import Remedy
from tune_lb.training.trial import Trial

WRITTEN_OUT = (GhostBatchNorm, GradientNoise, SAM, Warmup, Scaling)

KNOWN_FIELDS = {
    *(
        "arm",
        "data",
        "model",
        "optimizer",
        "schedule",
        "budget",
        "loss",
        "batch_size",
        "lr",
        "eta_over_b",
        "split_seed",
    ),
    *("draws", "remedies", "initialization", "precision", "phases", "drawn"),
}
"""Fields of a trial that are written out, or asked about below."""


def is_written_out(remedy: Remedy) -> bool:
    """Say whether plain code does what the remedy does: of those known, what fields added later can say is not."""
    fields = dataclasses.fields(remedy)
    later = [getattr(remedy, f.name) == f.default for f in fields if f.metadata.get("added_later")]
    return type(remedy) in WRITTEN_OUT and all(later)


def not_plain(trial: Trial, data: DataSet, module: nn.Module) -> list[str]:
    """Return what of a trial has no form as plain code, a line each; module: its network, as its model makes it."""
    found = [
        f"{remedy!r}, a remedy from {type(remedy).__module__}" for remedy in trial.active if not is_written_out(remedy)
    ]
    found += [f"start from the weights after {phase!r}" for phase in trial.phases]
    if trial.precision == "tf32":
        found.append("precision tf32: torch.backends.cudnn.allow_tf32 and torch.set_float32_matmul_precision('high')")
    elif trial.precision != "fp32":
        found.append(f"precision {trial.precision}: forward passes of training under torch.autocast")
    if clips(trial.optimizer):
        found.append("gradient clipping")
    if trial.budget.watches_loss:
        found.append(f"{trial.budget!r}, which ends the training by what its loss does")
    found += [
        f"{field.name} = {getattr(trial, field.name)!r}"
        for field in dataclasses.fields(trial)
        if field.name not in KNOWN_FIELDS and getattr(trial, field.name) != field.default
    ]
    layers = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kinds = {type(remedy) for remedy in trial.active}
    if GhostBatchNorm in kinds and not all(m.affine and m.track_running_stats for m in layers):
        found.append("GhostBatchNorm over layers without scale and shift, or without running statistics")
    buffers = {id(buffer) for layer in layers for buffer in layer.buffers()}
    if SAM in kinds and any(id(buffer) not in buffers for buffer in module.buffers()):
        found.append("SAM over a network with buffers of its own, which its second pass must leave alone")
    if not _is_usual(data):
        found.append("data of another form than numbers (N, ...) and class numbers (N,)")
    elif not _returns_a_tensor(trial, data):
        found.append("a network that returns something else than a tensor, of which the logits are taken")
    return found


def _returns_a_tensor(trial: Trial, data: DataSet) -> bool:
    inputs = torch.from_numpy(data.standardized(data.train.inputs[:2]))
    with seeded("recipe"), torch.no_grad():
        module = trial.model(data.input_shape, data.num_classes).eval()
        dtype = next((p.dtype for p in module.parameters()), inputs.dtype)
        outputs = module(inputs.to(dtype) if inputs.is_floating_point() else inputs)
    return isinstance(outputs, torch.Tensor)


def _is_usual(data: DataSet) -> bool:
    inputs, targets = data.train.inputs, data.train.targets
    return (
        hasattr(inputs, "dtype")
        and inputs.dtype.kind in "fiu"
        and getattr(targets, "ndim", 0) == 1
        and targets.dtype.kind in "iu"
    )


class PlainCode:
    """The parts of the file. drawn_from: the generators that the network's start is drawn from (see GlobalState.moved)."""

    def __init__(
        self, trial: Trial, data: DataSet, module: nn.Module, seed: int, drawn_from: Sequence[str] = ()
    ) -> None:
        self.trial, self.data, self.module, self.seed, self.drawn_from = trial, data, module, seed, drawn_from
        self.active = {type(remedy): remedy for remedy in trial.active}
        self.has_batch_norm = any(
            isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats for m in module.modules()
        )
        self.plan = trial.plan(len(data.train.targets))
        texts = [value for value in vars(templates).values() if isinstance(value, str)]
        self.written = Expressions(re.findall(r"[A-Za-z_]\w*", "\n".join(texts)))

    def parts(self) -> list[str]:
        """Return what stands in the file, from top to bottom."""
        # the imports are known when all else is written
        after = [
            "\n".join(self.constants()),
            templates.STREAM,
            self.model(),
            *self.remedies(),
            self.backward(),
            templates.BATCHES,
            self.learning_rate(),
            self.train(),
            *self.recalibrate(),
            templates.ERROR,
            self.main(),
        ]
        return ["\n".join(self.imports()), *after]

    def remedy(self, kind: type[Remedy]) -> Any:
        """Return the active remedy of that kind, None where there is none."""
        return self.active.get(kind)

    def imports(self) -> list[str]:
        """Return the import lines; what cannot be written out is imported from where the space found it."""
        own = [
            "import hashlib",
            "import math",
            "import torch",
            "import torch.nn.functional as F",
            "from torch import nn",
        ]
        return self.written.lines(*own)

    def constants(self) -> list[str]:
        """Return the numbers, to all their digits."""
        trial, budget = self.trial, self.trial.budget
        per_example = f"  # {trial.learning_rate / trial.batch_size:.4g} per example of the batch"
        lines = [
            f"SEED = {self.seed}  # of a member of the search; another number is another training of the same kind",
            f"DRAWS = {trial.draws!r}",
            f"BATCH_SIZE = {trial.batch_size}",
            f"LEARNING_RATE = {trial.learning_rate!r}{per_example}",
        ]
        if isinstance(budget, Epochs):
            lines.append(f"EPOCHS = {budget.epochs!r}")
        else:
            spent = f"{self.plan.num_epochs:.4g} epochs of {self.plan.num_train} examples"
            lines.append(f"NUM_UPDATES = {self.plan.num_updates}  # {spent}")
        if self.has_batch_norm:
            lines.append(
                f"CHUNK = {chunk_size(torch.from_numpy(self.data.train.inputs))}  # examples at a time, afterwards"
            )
        for remedy in trial.active:
            if isinstance(remedy, Scaling):
                lines.append(f"# LEARNING_RATE is scaled to the batch: {remedy!r}")
                continue
            own = [field.name for field in dataclasses.fields(remedy) if not field.metadata.get("added_later")]
            prefix = remedy.name.upper()
            lines += [f"{_constant(prefix, name)} = {getattr(remedy, name)!r}" for name in own]
        return lines

    def model(self) -> str:
        """Return build_model(): layer by layer where that makes the same network, else a call of what made it."""
        layers = layers_code(lambda: self.trial.model(self.data.input_shape, self.data.num_classes))
        shape = f"{self.data.input_shape!r}, {self.data.num_classes}"
        made = layers or f"{self.written.of(self.trial.model)}({shape})"
        if any(t.is_floating_point() and t.dtype != torch.float32 for t in self.module.state_dict().values()):
            made += ".float()"
        start, ghost = self.trial.initialization, self.remedy(GhostBatchNorm)
        if start is None:
            return f"def build_model():\n    return {f'with_ghost_batch_norm({made})' if ghost else made}"
        end = "with_ghost_batch_norm(model)" if ghost else "model"
        return f"def build_model():\n    model = {made}\n    {self.written.of(start)}(model)\n    return {end}"

    def remedies(self) -> list[str]:
        """Return the definitions that the remedies need."""
        return [templates.GHOST] if self.remedy(GhostBatchNorm) else []

    def backward(self) -> str:
        """Return the functions that leave a gradient in .grad."""
        if self.trial.loss is cross_entropy:
            loss = "F.cross_entropy(model(x), y)"
        else:
            loss = f"{self.written.of(self.trial.loss)}(model(x), y).mean()"
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
        if type(schedule) is Cosine:
            final = schedule.final
            cosine = "(1 + math.cos(math.pi * step / num_updates)) / 2"
            rate = (
                f"LEARNING_RATE * {cosine}" if final == 0 else f"LEARNING_RATE * ({final!r} + {1 - final!r} * {cosine})"
            )
        elif type(schedule) is Constant:
            rate = "LEARNING_RATE"
        else:
            seen = "step * BATCH_SIZE, (step + 1) * BATCH_SIZE, num_updates * BATCH_SIZE"
            position = f"{self.written.of(Position)}(step, BATCH_SIZE, {seen}, num_examples)"
            rate = f"LEARNING_RATE * {self.written.of(schedule)}.factor({position})"
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
        optimizer, rates = optimizer_code(self.trial, self.module, self.written)
        return (
            templates.TRAIN.replace("UPDATES", updates)
            .replace("    OPTIMIZER\n", optimizer)
            .replace("RATES", rates)
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
        load = f"{self.written.of(self.trial.data.located())}.load({self.trial.split_seed})"
        recalibrate = "    recalibrate(model, inputs)\n" if self.has_batch_norm else ""
        start = 'stream("initialization").initial_seed()'
        seeds = [f"torch.manual_seed({start})"]
        if "numpy.random" in self.drawn_from:
            seeds.append(f"{self.written.imported_as('numpy', 'random')}.seed({start} % 2**32)")
        if "random" in self.drawn_from:
            seeds.append(f"{self.written.imported_as('random', 'seed')}({start})")
        drawn = "".join(f"    {line}\n" for line in seeds)
        return (
            templates.MAIN.replace("    SEEDS\n", drawn).replace("LOAD", load).replace("    RECALIBRATE\n", recalibrate)
        )


def _constant(prefix: str, name: str) -> str:
    """Return SAM_RHO for sam.rho, and GHOST_BATCH_SIZE for ghost_batch_norm.ghost_batch_size."""
    return name.upper() if prefix == "GHOST_BATCH_NORM" else f"{prefix}_{name.upper()}"
