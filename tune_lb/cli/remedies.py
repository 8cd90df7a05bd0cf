"""remedies: what can be searched, what it costs and where it comes from."""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import re
from typing import Any

from rich.table import Table

import tune_lb.remedies
from tune_lb.cli.output import Output, command
from tune_lb.remedy import Remedy


def run(given: argparse.Namespace, out: Output) -> int:
    """List every remedy in tune_lb/remedies; nothing is registered, a new file is in the list."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("remedy", "dimensions, with ranges to begin with", "gradients per step", "cost", "source"):
        table.add_column(heading, overflow="fold")
    listed = [described(kind) for kind in remedy_classes()]
    for entry in listed:
        dimensions = "\n".join(f"{name}: {text}" for name, text in entry["ranges"].items())
        table.add_row(entry["name"], dimensions, f"{entry['gradient_evaluations']:g}", entry["cost"], entry["source"])
    out.show(table)
    out.line()
    out.line("In a space: from tune_lb.remedies.sam import SAM; Arm('sam', SAM(rho=over(0.02, 1.0, log=True)))")
    out.close({"remedies": [_plain(entry) for entry in listed]}, command("spaces"))
    return 0


def remedy_classes() -> list[type[Remedy]]:
    """Return every remedy that a file of tune_lb/remedies defines, by name."""
    found = []
    for file in sorted(pkgutil.iter_modules(tune_lb.remedies.__path__), key=lambda file: file.name):
        module = importlib.import_module(f"tune_lb.remedies.{file.name}")
        found += [
            kind
            for kind in vars(module).values()
            if isinstance(kind, type) and issubclass(kind, Remedy) and kind.__module__ == module.__name__
        ]
    return found


def described(kind: type[Remedy]) -> dict[str, Any]:
    """Return what the table says of one remedy; cost and source are the sentences of its docstring that say so."""
    text = inspect.getdoc(kind) or ""
    name = kind.module_name()
    return {
        "name": name,
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "summary": text.partition("\n\n")[0],
        "dimensions": {f"{name}.{field}": domain for field, domain in kind.suggested().items()},
        "ranges": {field: str(domain) for field, domain in kind.suggested().items()},
        "gradient_evaluations": kind().gradient_evaluations(),
        "cost": sentence(text, "Cost"),
        "source": sentence(text, "Source"),
    }


def sentence(text: str, label: str) -> str:
    """Return the sentence that begins with `label: `, without the label; empty where there is none."""
    found = re.search(rf"^{label}: (.*?)(\.(?=\s+[A-Z])|\.?\s*$(?=\n\n|\n[A-Z]\w*: |\Z))", text, re.S | re.M)
    return " ".join(found[1].split()) if found else ""


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    domains = {name: domain.as_json() for name, domain in entry["dimensions"].items()}
    return {key: value for key, value in entry.items() if key != "ranges"} | {"dimensions": domains}
