"""For Tuners of one's own: an arm as a Ray Tune trainable, and what it searches as Ray's param_space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from ray import tune

from tune_lb.data.device import on_device
from tune_lb.errors import RequestError, nearest, user_code
from tune_lb.metrics.metric import Metric
from tune_lb.metrics.names import as_metrics
from tune_lb.settings.domain import Choice, Interval
from tune_lb.space.checks import checked_designs
from tune_lb.space.designs import ArmDesign
from tune_lb.space.experiment import Experiment
from tune_lb.space.space import Space
from tune_lb.training.taking import taken_by
from tune_lb.tuning.arm_checks import arm_problems
from tune_lb.tuning.cost_estimate import dearest, trials_of_cases
from tune_lb.tuning.data_loading import load
from tune_lb.tuning.member_trainable import MemberTrainable, OwnArm
from tune_lb.tuning.network_findings import network_findings
from tune_lb.tuning.ray_domains import options, to_ray


def trainable(
    space: Space, *, arm: str, seed: int = 0, split_seed: int = 0, metrics: Sequence[Metric | str] = ()
) -> type[MemberTrainable]:
    """Return a class for tune.Tuner that trains members of an arm (see MemberTrainable), its data in Ray's object store.

    seed, split_seed: of the members, where the configuration does not give them; by default those of the search stage.
    metrics: measured on every member that trains to its end. Raises RequestError with every mistake of the arm, as `search` does,
    before anything starts. Cost: the data are loaded, and every end of every range is tried on two examples.
    """
    own = own_arm(space, arm, seed, split_seed, metrics)
    found: type[MemberTrainable] = tune.with_parameters(MemberTrainable, own=own)
    # what Ray calls its trials by
    found.__name__ = arm
    return found


def own_arm(space: Space, arm: str, seed: int = 0, split_seed: int = 0, metrics: Sequence[Metric | str] = ()) -> OwnArm:
    """Return what workers must know of an arm, checked. Arguments: see trainable."""
    design = _design(space, arm)
    measured = as_metrics(tuple(metrics)) if metrics else ()
    data, problems = load(space, [design])
    if data is not None:
        problems += arm_problems([design], data, space.microbatch)
    if problems or data is None:
        raise RequestError(dict.fromkeys(problems))
    cases = trials_of_cases(space, [design])
    trial = dearest(cases)[arm]
    parts = on_device(data.of(trial)[0], "cuda" if torch.cuda.is_available() else "cpu")
    with user_code(f"arm {arm!r}", made_by=trial.model):
        way = "plain" if network_findings({arm: trial}, {arm: parts}, cases)[arm].is_plain else "alone"
    return OwnArm(design, data, way, seed, split_seed, tuple(measured), space.microbatch)


def param_space(space: Space, *, arm: str) -> dict[str, Any]:
    """Return what an arm searches, by column name (sam.rho), as domains of Ray's; see to_ray. Raises RequestError."""
    return {name: to_ray(domain) for name, domain in _design(space, arm).dimensions.items()}


def mutations(space: Space, *, arm: str) -> dict[str, Any]:
    """Return the same for PopulationBasedTraining(hyperparam_mutations=...), which takes lists for choices."""
    dimensions = _design(space, arm).dimensions
    return {name: options(d) if isinstance(d, Choice) else to_ray(d) for name, d in dimensions.items()}


def in_range(space: Space, *, arm: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what puts numbers of a configuration that lie outside of their ranges on the nearest end.

    For PopulationBasedTraining(custom_explore_fn=...), which multiplies numbers by 0.8 or 1.2 whatever their range is.
    """
    ranges = {name: d for name, d in _design(space, arm).dimensions.items() if isinstance(d, Interval)}

    def put(config: dict[str, Any]) -> dict[str, Any]:
        ends = {
            name: (type(config[name])(d.low), type(config[name])(d.high))
            for name, d in ranges.items()
            if name in config
        }
        return config | {name: min(max(config[name], low), high) for name, (low, high) in ends.items()}

    return put


def _design(space: Space, arm: str) -> ArmDesign:
    if isinstance(space, Experiment):
        raise RequestError("an Experiment has two scales: give SPACE.at('small') or SPACE.at('paper')")
    designs = {design.name: design for design in checked_designs(space)}
    if arm not in designs:
        raise RequestError(f"the space has no arm {arm!r}{nearest(arm, designs)}")
    design = designs[arm]
    if design.derived_from is not None:
        raise RequestError(
            f"arm {arm!r} takes its configuration from what arm {design.derived_from!r} selects, which a search knows: use search"
        )
    taken = taken_by(design.template)
    if taken:
        raise RequestError(
            f"arm {arm!r} takes weights of arm {taken[0].arm!r}, which a search trains before it: use search"
        )
    return design
