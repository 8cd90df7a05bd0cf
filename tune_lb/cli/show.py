"""show: what a space asks, trains and searches."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from tune_lb.cli.asked import asked_space
from tune_lb.cli.output import Output, command, listed, number
from tune_lb.cli.procedure import stages_text, stopping_text
from tune_lb.settings.identity import describe
from tune_lb.settings.setting import Settings
from tune_lb.space.checks import checked_designs
from tune_lb.space.description import space_hash
from tune_lb.space.designs import ArmDesign, sampling_notes
from tune_lb.space.space import Space
from tune_lb.training.part_lists import in_rows

NOTES = {
    "copied": "takes the learning rate that {} selects",
    "scaled": "takes the learning rate per example that {} selects",
    "placebo": "the reference with a search of its own: points and blocks of its own",
    "compute_matched": "the reference, as many gradients as the arms that cost more per update",
}


def run(given: argparse.Namespace, out: Output) -> int:
    """Print the space as it would be run."""
    loaded, space = asked_space(given.space, given.overrides, scale=given.scale)
    designs = checked_designs(space)
    out.paragraph(space.question, style="bold")
    facts = _facts(space, designs)
    for name, text in facts.items():
        out.paragraph(f"{name:<10} {text}")
    out.line()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for header in ("arm", "role", "batch", "tries"):
        table.add_column(header, no_wrap=True, justify="right" if header in ("batch", "tries") else "left")
    table.add_column("searched")
    for design in designs:
        tries = "-" if design.derived_from is not None else number(design.num_samples)
        table.add_row(design.name, design.role, number(design.template.batch_size), tries, "\n".join(_searched(design)))
    out.show(table)
    out.line()
    for note in sampling_notes(designs):
        out.paragraph(f"note: {note}")
    scale = [] if given.scale is None else ["--scale", given.scale]
    result: dict[str, Any] = {"space": given.space, "path": str(loaded.path), "hash": space_hash(space)}
    result |= {"question": space.question, **facts, "arms": [_plain(design) for design in designs]}
    out.close(result, command("search", given.space, *given.overrides, *scale, "--dry-run"))
    return 0


def _facts(space: Space, designs: Sequence[ArmDesign]) -> dict[str, str]:
    template = designs[0].template
    training = (template.loss, template.optimizer, template.schedule, template.budget)
    return {
        "data": _whole(template.data),
        "model": _whole(template.model),
        "training": ", ".join(map(_whole, training)),
        "procedure": f"{space.sampler}; {stages_text(space, designs)}",
        **({"stopping": stopping} if (stopping := stopping_text(space, designs)) else {}),
        "metrics": f"{listed([metric.name for metric in space.metrics])}, on members of stage {space.metrics_on}",
        **({"objectives": f"{', '.join(space.objectives)} (what the sampler seeks)"} if space.objectives else {}),
        **({"points": f"{len(space.points)} to try first"} if space.points else {}),
    }


def _whole(value: Any) -> str:
    """Return a dataclass with all its fields, those added later where they say something; anything else by its name."""
    if not isinstance(value, Settings):
        return describe(value)
    fields = [f for f in dataclasses.fields(value) if f.repr]
    shown = [f.name for f in fields if not f.metadata.get("added_later") or getattr(value, f.name) != f.default]
    return f"{type(value).__qualname__}({', '.join(f'{name}={getattr(value, name)!r}' for name in shown)})"


def _searched(design: ArmDesign) -> list[str]:
    note = NOTES.get(design.role)
    lines = [note.format(design.derived_from)] if note else []
    if design.derived_from is None:
        lines += [f"{name}: {in_rows(name, domain)}" for name, domain in design.dimensions.items()] or ["nothing"]
    if design.combines:
        lines.append(f"begins with the best of {', '.join(design.combines)}")
    return lines + ([f"compared at equal cost with {design.matched_by}"] if design.matched_by else [])


def _plain(design: ArmDesign) -> dict[str, Any]:
    dimensions = {name: in_rows(name, domain).as_json() for name, domain in design.dimensions.items()}
    batch_size: Any = design.template.batch_size
    row = {"name": design.name, "role": design.role, "batch_size": batch_size if isinstance(batch_size, int) else None}
    return row | {"num_samples": design.num_samples, "dimensions": dimensions, "derived_from": design.derived_from}
