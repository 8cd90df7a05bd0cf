"""What the check of networks finds for the arms of a space: which are trained the plain way, and which cannot be."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tune_lb.data.device import Parts
from tune_lb.errors import RequestError
from tune_lb.settings.identity import identity
from tune_lb.settings.taken import TakesFromArm
from tune_lb.training.network_check import Finding, check_network
from tune_lb.training.remedy import overrides
from tune_lb.training.trial import Trial


def network_findings(
    trials: Mapping[str, Trial], parts: Mapping[str, Parts], others: Mapping[str, Sequence[Trial]] | None = None
) -> dict[str, Finding]:
    """Return the finding of every arm; networks that are made alike, and see the same data, are checked once.

    others: further trials of the arms, with other alternatives of their lists of parts; what is found for one holds for its arm.
    Raises RequestError, with the arms, for networks that no way is right for.
    """
    known: dict[tuple[str, int], Finding] = {}
    found: dict[str, Finding] = {}
    refused: dict[str, list[str]] = {}
    for arm, trial in trials.items():
        own = []
        for each in (trial, *(others or {}).get(arm, ())):
            key = (_network_key(each), id(parts[arm]))
            if key not in known:
                known[key] = check_network(each, parts[arm])
            own.append(known[key])
        found[arm] = _together(own)
        for refusal in found[arm].refusals:
            refused.setdefault(refusal, []).append(arm)
    if refused:
        raise RequestError([f"{named(arms, len(trials))}: {refusal}" for refusal, arms in refused.items()])
    return found


def _together(findings: Sequence[Finding]) -> Finding:
    """Return what holds where any of several networks may be drawn."""
    first = findings[0]
    if all(each is first for each in findings):
        return first
    return dataclasses.replace(
        first,
        reasons=_all(each.reasons for each in findings),
        refusals=_all(each.refusals for each in findings),
        draws=_all(each.draws for each in findings),
        writes_inputs=any(each.writes_inputs for each in findings),
        is_random=any(each.is_random for each in findings),
    )


def _all(lines: Iterable[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(itertools.chain(*lines)))


def finding_notes(findings: Mapping[str, Finding]) -> list[str]:
    """Return what a plan says of them, a line for each kind."""
    plain: dict[str, list[str]] = {}
    drawing: dict[str, list[str]] = {}
    for arm, finding in findings.items():
        if finding.is_plain:
            plain.setdefault(finding.reasons[0], []).append(arm)
        if finding.draws:
            drawing.setdefault(", ".join(finding.draws), []).append(arm)
    total = len(findings)
    return [
        f"{named(arms, total)}: trained the plain way, each member by a network of its own: {reason}"
        for reason, arms in plain.items()
    ] + [
        f"{named(arms, total)}: the network draws random numbers itself ({generators}), which are seeded for each update; its "
        "members are trained one at a time"
        for generators, arms in drawing.items()
    ]


def named(arms: Iterable[str], num_arms: int) -> str:
    """Return how a line begins that concerns some of so many arms."""
    names = list(dict.fromkeys(arms))
    if len(names) == num_arms > 1:
        return "every arm"
    return f"arm{'s' * (len(names) > 1)} {', '.join(map(repr, names))}"


def _network_key(trial: Trial) -> str:
    changing = [identity(remedy) for remedy in trial.active if overrides(remedy, "network")]
    start: Any = trial.initialization
    if isinstance(start, TakesFromArm):
        start = start.at_start()  # what it will take is not there yet
    return json.dumps([identity(trial.model), identity(trial.loss), identity(start), changing])
