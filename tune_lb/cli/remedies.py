"""remedies: what can be searched, what it costs and where it comes from."""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import re
from types import ModuleType
from typing import Any, TypeVar

from rich.table import Table

import tune_lb.optimizers
import tune_lb.remedies
from tune_lb.budgets import Budget, Updates
from tune_lb.cli.output import Output, command
from tune_lb.optimizers.settings import OptimizerSettings
from tune_lb.schedules import Cyclical, ScheduleShape, Trapezoid
from tune_lb.settings.setting import Settings
from tune_lb.training.remedy import Remedy

Kind = TypeVar("Kind", bound=Settings)

PLACES: dict[type[Settings], str] = {OptimizerSettings: "optimizer", ScheduleShape: "schedule", Budget: "budget"}
"""The field of an arm in which a remedy that is not one of tune_lb/remedies stands."""


def run(given: argparse.Namespace, out: Output) -> int:
    """List every remedy in tune_lb/remedies and what else is one; nothing is registered, a new file is in the list."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in (
        "remedy",
        "goes in",
        "dimensions, with ranges to begin with",
        "gradients per step",
        "cost",
        "source",
    ):
        table.add_column(heading, overflow="fold")
    listed = [described(kind) for kind in (*remedy_classes(), *other_classes())]
    for entry in listed:
        dimensions = "\n".join(f"{name}: {text}" for name, text in entry["ranges"].items())
        table.add_row(
            entry["name"],
            entry["place"],
            dimensions,
            f"{entry['gradient_evaluations']:g}",
            entry["cost"],
            entry["source"],
        )
    out.show(table)
    out.line()
    out.line("In a space: from tune_lb.remedies import SAM; Arm('sam', SAM(rho=over(0.02, 1.0, log=True)))")
    out.line("what goes in a field: from tune_lb.optimizers import LARS; Arm('lars', optimizer=LARS(), lr=over(...))")
    out.close({"remedies": [_plain(entry) for entry in listed]}, command("spaces"))
    return 0


def remedy_classes() -> list[type[Remedy]]:
    """Return every remedy that a file of tune_lb/remedies defines, by name."""
    return _defined_in(tune_lb.remedies, Remedy)


def other_classes() -> list[type[Settings]]:
    """Return what is a remedy, but stands in a field of its own: optimisers for large batches, schedules, a budget."""
    own_rate = [kind for kind in _defined_in(tune_lb.optimizers, OptimizerSettings) if kind.suggested_lr is not None]
    return [*own_rate, Trapezoid, Cyclical, Updates]


def _defined_in(package: ModuleType, base: type[Kind]) -> list[type[Kind]]:
    found: list[type[Kind]] = []
    for file in sorted(pkgutil.iter_modules(package.__path__), key=lambda file: file.name):
        module = importlib.import_module(f"{package.__name__}.{file.name}")
        found += [
            kind
            for kind in vars(module).values()
            if isinstance(kind, type) and issubclass(kind, base) and kind.__module__ == module.__name__
        ]
    return found


def described(kind: type[Settings]) -> dict[str, Any]:
    """Return what the table says of one remedy; cost and source are the sentences of its docstring that say so."""
    text = inspect.getdoc(kind) or ""
    ranges = kind.suggested()
    if issubclass(kind, Remedy):
        name, place, evaluations = kind.name, "arm", kind().gradient_evaluations()
        dimensions = {f"{name}.{field}": domain for field, domain in ranges.items()}
    else:
        name, evaluations = kind.__name__, 1.0
        place = next(field for base, field in PLACES.items() if issubclass(kind, base))
        if issubclass(kind, OptimizerSettings) and kind.suggested_lr is not None:
            ranges = {"lr": kind.suggested_lr, **ranges}
        dimensions = ranges
    return {
        "name": name,
        "place": place,
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "summary": text.partition("\n\n")[0],
        "dimensions": dimensions,
        "ranges": {field: str(domain) for field, domain in ranges.items()},
        "gradient_evaluations": evaluations,
        "cost": sentence(text, "Cost"),
        "source": sentence(text, "Source"),
    }


def sentence(text: str, label: str) -> str:
    """Return the sentence that begins with `label: `, without the label, wherever it stands; empty where there is none."""
    ends = r"\.(?=\s+[A-Z])|\.?\s*$(?=\n\n|\n[A-Z]\w*: |\Z)"
    found = re.search(rf"(?:^|(?<=\.\s)){label}: (.*?)({ends})", text, re.S | re.M)
    return " ".join(found[1].split()) if found else ""


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    domains = {name: domain.as_json() for name, domain in entry["dimensions"].items()}
    return {key: value for key, value in entry.items() if key != "ranges"} | {"dimensions": domains}
