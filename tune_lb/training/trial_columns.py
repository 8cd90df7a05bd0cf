"""What the fields of a trial's parts are called: columns of the results, and names under which they are searched and overridden."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from tune_lb.settings.identity import describe
from tune_lb.settings.setting import HOLDS_PARTS, Settings
from tune_lb.training.remedy import Remedy

PLAIN_PREFIXES = ("optimizer", "schedule", "budget")
"""Parts whose fields are columns under their own name: momentum, epochs."""


def column_name(prefix: str, field: str) -> str:
    """Return the column of a field of a part of a trial: sam.rho, phase1.epochs, and plainly momentum."""
    return field if prefix in PLAIN_PREFIXES else f"{prefix}.{field}"


def part_columns(prefix: str, part: Settings) -> dict[str, str]:
    """Return column name -> field name for the fields of a part."""
    fields = [field.name for field in dataclasses.fields(part) if not field.metadata.get(HOLDS_PARTS)]
    return {column_name(prefix, name): name for name in fields}


def as_value(value: Any) -> Any:
    """Return a field's value as it stands in a row: numbers and flags as they are, others as text."""
    return value if value is None or isinstance(value, bool | int | float) else describe(value)


def most_gradient_evaluations(remedy: Remedy) -> float:
    """Return the gradient evaluations of one update with a remedy; where they depend on searched fields, the most."""
    domains = remedy.dimensions()
    ends = itertools.product(*(domain.to_check() for domain in domains.values()))
    return max(remedy.resolved(dict(zip(domains, values, strict=True))).gradient_evaluations() for values in ends)
