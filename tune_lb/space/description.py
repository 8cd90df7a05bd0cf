"""What fixes the meaning of a run: two spaces are the same exactly when their descriptions are."""

from __future__ import annotations

import hashlib
import json

from tune_lb.samplers.sampler import Sampler
from tune_lb.settings.identity import identity
from tune_lb.space.checks import checked_designs
from tune_lb.space.observation import CROSSINGS
from tune_lb.space.space import PROCEDURE, Space
from tune_lb.training.ways import AUTO


def description(space: Space) -> dict[str, str]:
    """Return what fixes the meaning of a run, as flat text. Raises RequestError for a space with mistakes."""
    flat: dict[str, str] = {}
    for name in (*PROCEDURE, "sampler", "metrics", "metrics_on", "seed", "baseline", "reference"):
        value = getattr(space, name)
        flat[name] = json.dumps(_sampler(value) if name == "sampler" else identity(value), sort_keys=True)
    # fields that came later stand there where they say something: runs of before have no word of them
    if space.walk is not None:
        flat["walk"] = json.dumps(identity(space.walk), sort_keys=True)
    if space.watch is not None:
        flat["watch"] = json.dumps(identity(space.watch), sort_keys=True)
    if tuple(space.crossings or ()) != CROSSINGS:
        flat["crossings"] = json.dumps(space.crossings)
    if space.execution != "auto":
        flat["execution"] = json.dumps(space.execution)
    if space.fresh_splits is not None:
        flat["fresh_splits"] = json.dumps(space.fresh_splits)
    if space.select_by != "auto":
        flat["select_by"] = json.dumps(space.select_by)
    if space.objectives:
        flat["objectives"] = json.dumps(list(space.objectives))
    if space.points:
        flat["points"] = json.dumps(identity([dict(point) for point in space.points]), sort_keys=True)
    if space.stopping is not None:
        flat["stopping"] = json.dumps(identity(space.stopping), sort_keys=True)
    if space.microbatch != AUTO:
        flat["microbatch"] = json.dumps(space.microbatch)
    for design in checked_designs(space):
        for key, value in identity(design.template).items():
            flat[f"arm {design.name}: {key}"] = json.dumps(value, sort_keys=True)
        flat[f"arm {design.name}: combines"] = json.dumps(design.combines)
    return flat


def space_hash(space: Space) -> str:
    """Return a hash of the description."""
    return hashlib.sha256(json.dumps(description(space), sort_keys=True).encode()).hexdigest()[:16]


def _sampler(sampler: Sampler) -> object:
    """Return the name of a sampler as it comes, and what it is where it was set otherwise or is the user's own."""
    own = type(sampler).__module__.startswith("tune_lb.")
    return sampler.name if own and sampler == type(sampler)() else identity(sampler)
