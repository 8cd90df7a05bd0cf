"""Which trainings can train as one stack."""

from __future__ import annotations

import hashlib
import json

from tune_lb.optimizers.of_members import has_member_form, program_of
from tune_lb.settings.identity import identity
from tune_lb.training.compiled_step import remedy_program
from tune_lb.training.remedy import Remedy, overrides
from tune_lb.training.training import Training


def stack_key(training: Training) -> str | None:
    """Return what trainings must have in common to train as one stack; None for one that trains by itself.

    That is all but numbers: the rate with its schedule and warmup, floats of our remedies and of the optimiser, seeds, and the data
    themselves. What shapes the program parts stacks: batch, number of updates, model, loss, whole numbers of
    remedies (a ghost size, SAM's m), and in which steps a remedy acts. A remedy of the user's may read its fields anywhere, so
    they are all part of the program; one that changes update or step, and an optimiser of the user's, know one rate only.
    """
    trial = training.trial
    own = [remedy for remedy in training.remedies if not _is_ours(remedy)]
    changes = any(overrides(remedy, hook) for remedy in own for hook in ("update", "step"))
    if training.execution != "alone" or changes or not has_member_form(trial.optimizer) or training.habits.draws:
        return None
    try:
        return json.dumps([program_of_stack(training), training.step, _steps(training)], sort_keys=True)
    except TypeError:
        return None  # a function that has no name


def program_of_stack(training: Training) -> str:
    """Return what shapes an update of a stack of such trainings; raise TypeError where that cannot be said."""
    trial, group = training.trial, training.groups[0]
    own = [identity(remedy) for remedy in training.remedies if not _is_ours(remedy)]
    parts = [identity(part) for part in (trial.model, trial.loss, trial.precision, trial.output)]
    remedies = [remedy_program(remedy) for remedy in training.remedies] + own
    shapes = [[name, list(value.shape)] for tree in (group.params, group.buffers) for name, value in tree.items()]
    states = [[name, key, list(v.shape)] for name, state in group.states.items() for key, v in state.items()]
    targets = training.parts.train.targets
    data = [training.parts.num_classes, str(training.parts.input_shape), str(targets.dtype), list(targets.shape[1:])]
    clipping = [trial.optimizer.clip_norm, trial.optimizer.clip_value]
    facts = [clipping, training.microbatch, str(training.dtype), str(training.device)]
    return json.dumps([parts, program_of(trial.optimizer), remedies, shapes, states, data, facts], sort_keys=True)


def _is_ours(remedy: Remedy) -> bool:
    return type(remedy).__module__.startswith("tune_lb.")


def _steps(training: Training) -> str:
    """Return a hash of the sizes of all steps, and of those in which remedies act that then take another way."""
    plan = training.plan
    acting = [
        r for r in training.remedies if overrides(r, "due") and (overrides(r, "gradient") or overrides(r, "step"))
    ]
    due = [[remedy.due(plan.position(step)) for step in range(plan.num_updates)] for remedy in acting]
    return hashlib.sha256(repr([tuple(plan.boundaries), due]).encode()).hexdigest()
