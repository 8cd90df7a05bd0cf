"""How often a member is looked at while it trains, counted before it does, by kind of look."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch

from tune_lb.space.space import Space
from tune_lb.training.plan import Plan
from tune_lb.training.trial import Trial


class Looks(NamedTuple):
    """What is done to look at one member of the watched blocks, as often as Observer, Watcher and Walker do it.

    losses: of train and validation part, at epoch ends and the watch's steps, once more for each alternative of a remedy.
    test_losses: of the test part. crossings: lambda_max at loss crossings, at most, as nobody knows how low the loss will be.
    watches: looks of the watch, each over all its parts. walk_losses: over the walk's examples; exact_losses: those in float64.
    walk_steps: updates that are made one by one, each with its gradients taken again.
    """

    losses: int
    test_losses: int = 0
    crossings: int = 0
    watches: int = 0
    walk_losses: int = 0
    exact_losses: int = 0
    walk_steps: int = 0


def looks_of(space: Space, trial: Trial, plan: Plan, dtype: torch.dtype = torch.float32) -> Looks:
    """Return how often a member of a trial is looked at, if it trains to its end."""
    stops = [0]
    while stops[-1] < plan.num_updates:
        stops.append(plan.next_stop(stops[-1], 1.0))
    ends = set(stops[1:])
    watch = space.watch
    inside = {step for step in watch.steps if step < plan.num_updates} - ends if watch else set()
    times = len(ends | inside)
    watched = 0
    if watch is not None:
        epochs = {step: math.ceil(plan.boundaries[step] / plan.num_train - 1e-9) for step in ends}
        chosen = {s for s in ends if plan.ends_epoch(s) and watch.looks_at(epochs[s])}
        watched = len(chosen | inside | {s for s in watch.steps if s in ends} | {plan.num_updates})
    alternatives = sum(len(remedy.alternative_names()) for remedy in trial.active)
    found = Looks(
        losses=times * (1 + alternatives),
        test_losses=times if watch is not None and watch.test_error else 0,
        crossings=min(len(space.crossings or ()), times),
        watches=watched,
    )
    return found if space.walk is None else _walked(found, space, plan, stops, dtype)


def _walked(found: Looks, space: Space, plan: Plan, stops: list[int], dtype: torch.dtype) -> Looks:
    walk = space.walk
    assert walk is not None
    stretches = epochs = steps = 0
    last = -1
    for start, end in itertools.pairwise(stops):
        if plan.boundaries[start] // plan.num_train + 1 in walk.epochs:
            stretches += start != last
            epochs, steps, last = epochs + 1, steps + end - start, end
    if not walk.points:
        return found._replace(walk_steps=steps)
    exact = epochs * (walk.points + 2) if walk.barrier_above is None and dtype != torch.float64 else 0
    return found._replace(walk_steps=steps, walk_losses=steps * (walk.points + 1) + stretches, exact_losses=exact)
