"""The laws of remedies, each a question with a yes or no, and the suite that asks them all of one remedy."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tune_lb.testing.small_training import (
    Trajectory,
    flat,
    same_bits,
    same_up_to_rounding,
    small_trial,
    training_of,
    trajectory,
)
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.remedy import Remedy
from tune_lb.training.trial import Trial

MakeTrial = Callable[..., Trial]
"""Remedies -> a short trial with them: see small_trial."""


def check_remedy(remedy: Remedy, *beside: Remedy, trial: MakeTrial = small_trial) -> None:
    """Hold a remedy to every law, and raise AssertionError with all that it breaks, a line for each.

    remedy: an active one, small enough for six updates of eight examples. beside: remedies that it needs. trial: makes the
    trial that it is tried in, small_trial(*remedies) unless given, as lambda *r: small_trial(*r, batch_size=12).
    Cost: some thirty trainings of a split second.
    """
    together = (*beside, remedy)
    of = trial(*together)
    refused = of.problems() or check_against_data(of, of.data.load(of.split_seed))
    if refused:
        raise AssertionError(f"{remedy!r} does not fit the trial that it is tried in: {'; '.join(refused)}")
    laws: dict[str, Callable[[], bool]] = {
        "with its default values it is neutral: is_neutral() is True": lambda: type(remedy)().is_neutral(),
        "with its default values it has no problems": lambda: type(remedy)().problems() == [],
        "neutral, it changes no bit of a training": lambda: changes_nothing_when_neutral(remedy, trial),
        "given as active, it is so: is_neutral() is False": lambda: not remedy.is_neutral(),
        "active, it changes the training": lambda: changes_the_training(remedy, beside, trial),
        "it is a value: frozen, compared and hashed by its fields, pickled": lambda: is_a_value(remedy),
        "it leaves the global random generators alone": lambda: leaves_random_state(*together, trial=trial),
        "the same seed gives the same bits": lambda: repeats_itself(*together, trial=trial),
        "it moves neither the start of a training nor the order of the data": lambda: keeps_start_and_order(
            *together, trial=trial
        ),
        "a member is the same alone and among others (torch.func.vmap)": lambda: agrees_with_others_beside_it(
            *together, trial=trial
        ),
        "a training that is restored from a checkpoint goes on as if nothing had been": lambda: (
            goes_on_from_a_checkpoint(*together, trial=trial)
        ),
    }
    broken = [line for line, holds in laws.items() for line in _broken(line, holds)]
    if broken:
        raise AssertionError("\n".join([f"{remedy!r} breaks {len(broken)} of {len(laws)} laws:", *broken]))


def _broken(law: str, holds: Callable[[], bool]) -> list[str]:
    try:
        return [] if holds() else [f"  {law}"]
    except Exception as error:  # what a remedy raises is what it breaks the law by
        return [f"  {law}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"]


def changes_nothing_when_neutral(remedy: Remedy, trial: MakeTrial = small_trial) -> bool:
    """Say whether the remedy at its defaults leaves the trajectory as it is without it, to the last bit."""
    return same_bits(trajectory(trial()), trajectory(trial(type(remedy)())))


def changes_the_training(remedy: Remedy, beside: tuple[Remedy, ...] = (), trial: MakeTrial = small_trial) -> bool:
    """Say whether the last weights are others than without it (losses and buffers may be of other numbers)."""

    def weights(*remedies: Remedy) -> torch.Tensor:
        running = training_of(trial(*remedies))
        while not running.done:
            running.advance()
        return flat(next(iter(running.trained())).params)

    plain, changed = weights(*beside), weights(*beside, remedy)
    return bool(torch.isfinite(changed).all()) and bool((plain - changed).abs().max() > 1e-6)


def is_a_value(remedy: Remedy) -> bool:
    """Say whether it compares, hashes and pickles by its fields, and cannot be changed."""
    copy: Any = pickle.loads(pickle.dumps(remedy))
    try:
        copy.anything = 1
    except AttributeError:
        return copy == remedy == replace(remedy) and hash(copy) == hash(remedy) and remedy != type(remedy)()
    return False


def leaves_random_state(*remedies: Remedy, trial: MakeTrial = small_trial) -> bool:
    """Say whether the generators of torch, numpy and random are as before after a training."""

    def state() -> tuple[Any, ...]:
        return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()

    before = state()
    trajectory(trial(*remedies), (0, 1))
    return state() == before


def agrees_with_others_beside_it(*remedies: Remedy, trial: MakeTrial = small_trial) -> bool:
    """Say whether members trained one by one and stacked are the same up to rounding, and different seeds are not."""
    of = trial(*remedies)
    alone, together = trajectory(of, (3, 0, 8)), trajectory(of, (3, 0, 8), "together")
    return same_up_to_rounding(alone, together) and not same_up_to_rounding({0: alone[0]}, {0: alone[3]})


def repeats_itself(*remedies: Remedy, dtype: torch.dtype = torch.float32, trial: MakeTrial = small_trial) -> bool:
    """Say whether the same seeds give the same bits, whatever the state of the global generator."""
    first = trajectory(trial(*remedies), (0, 1), dtype=dtype)
    with torch.random.fork_rng(devices=[]):
        torch.rand(3)
        return same_bits(first, trajectory(trial(*remedies), (0, 1), dtype=dtype))


def keeps_start_and_order(*remedies: Remedy, trial: MakeTrial = small_trial) -> bool:
    """Say whether the first weights, and the examples of every step, are those of a training without it."""

    def start(of: Trial) -> Trajectory:
        running = training_of(of, (5,))
        orders = [running.batches.batch(5, step) for step in range(running.plan.num_updates)]
        tensors = [flat(next(iter(running.trained())).params), *(b.inputs.flatten() for b in orders)]
        return {5: torch.cat([*tensors, *(b.targets.double() for b in orders)])}

    return same_bits(start(trial()), start(trial(*remedies)))


def goes_on_from_a_checkpoint(*remedies: Remedy, trial: MakeTrial = small_trial) -> bool:
    """Say whether a training restored in its middle ends with the bits of one that was never stopped."""
    of = trial(*remedies)
    whole, first, second = (training_of(of, (0, 1)) for _ in range(3))
    first.advance(0.9)
    second.restore(first.checkpoint())
    for running in (whole, second):
        while not running.done:
            running.advance(1e-9)
    pairs = zip(whole.trained(), second.trained(), strict=True)
    return all(torch.equal(flat(a.params | a.buffers), flat(b.params | b.buffers)) for a, b in pairs)
