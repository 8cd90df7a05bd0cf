"""The plan of a search: what will be trained, what it costs, and the first configurations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from tune_lb.cli.output import Output, duration, number, size
from tune_lb.cli.procedure import stages_text, stopping_text
from tune_lb.samplers.distinct import untried
from tune_lb.samplers.sampler import Proposer, Values
from tune_lb.search.proposers import proposers
from tune_lb.space.checks import checked_designs
from tune_lb.space.designs import ArmDesign
from tune_lb.space.space import Space
from tune_lb.space.until import Until

if TYPE_CHECKING:
    from tune_lb.tuning.cost_estimate import ArmEstimate, Estimate

NUM_SHOWN = 3


def show_plan(out: Output, space: Space, estimate: Estimate, *, on_cluster: bool = False) -> None:
    """Print arms, members, data, what is looked at, and time, with the notes."""
    designs = checked_designs(space)
    marked = [f"{d.name} ({d.role})" if d.role in ("baseline", "reference") else d.name for d in designs]
    members = sum(arm.members for arm in estimate.arms)
    there = f"; {estimate.already_done:,} are trained already" if estimate.already_done else ""
    at_a_time = "one process" if estimate.concurrency == 1 else f"{estimate.concurrency} processes at a time"
    where = " on the cluster, timed on this machine" if on_cluster else ""
    # where it is confirmed until something is known nobody knows more
    most = "at most " if isinstance(space.confirm_blocks, Until) else ""
    time = f"{most}about {duration(estimate.wall_s)} with {at_a_time}{where} ({duration(estimate.core_s)} of work)"
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_row("arms", f"{len(designs)}: {', '.join(marked)}")
    lines.add_row("members", f"{most}{members:,}; of an arm: {stages_text(space, designs)}{there}")
    stopping = stopping_text(space, designs)
    if stopping:
        lines.add_row(
            "stopping", f"{stopping}; checkpoints that wait for a look take up to {size(estimate.waiting_bytes)}"
        )
    for line in _data_lines(estimate):
        lines.add_row("data", line)
    lines.add_row("looks", _looks(space, estimate))
    lines.add_row("time", f"{time}; {size(estimate.disk_bytes)} on disk")
    for note in estimate.notes:
        lines.add_row("note", note)
    out.show(lines)
    out.line()


def _data_lines(estimate: Estimate) -> list[str]:
    """Return the sizes of the parts, and what evaluating a member on all of them takes; arms with data of their own by name."""
    by_sizes: dict[tuple[int, int, int], list[ArmEstimate]] = {}
    for arm in estimate.arms:
        by_sizes.setdefault(arm.num_examples, []).append(arm)
    lines = []
    for sizes, arms in by_sizes.items():
        train, validation, test = (f"{number:,}" for number in sizes)
        of = f" ({', '.join(arm.arm for arm in arms)})" if len(by_sizes) > 1 else ""
        evaluated = f"evaluation takes {duration(arms[0].evaluation_s)} for each member"
        lines.append(f"{train} train, {validation} validation, {test} test examples{of}; {evaluated}")
    return lines


def _looks(space: Space, estimate: Estimate) -> str:
    """Return in words what is measured and observed, with what it takes."""
    of = (
        "all members"
        if space.metrics_on == "all"
        else f"a member of {min(space.measured_blocks, space.most_blocks)} blocks"
    )
    found = [f"{', '.join(metric.name for metric in space.metrics)} of {of}"] if space.metrics else []
    if space.crossings:
        losses = ", ".join(f"{loss:g}" for loss in space.crossings)
        found.append(
            f"lambda_max where the train loss first falls below {losses}, in {space.watched_blocks} blocks (crossings=none: not)"
        )
    found += ["the watch"] if space.watch else []
    found += ["the walk"] if space.walk else []
    looking_s = sum(arm.looking_s for arm in estimate.arms)
    return f"{'; '.join([*found, 'losses at epoch ends'])}: {duration(looking_s)} of work"


def show_costs(out: Output, space: Space, estimate: Estimate) -> None:
    """Print what each arm trains and costs, then the first configurations of each."""
    table = _table("arm", "role", "batch", "configurations", "members", "updates", "ms/update", "work")
    designs = {design.name: design for design in checked_designs(space)}
    for cost in estimate.arms:
        design = designs[cost.arm]
        table.add_row(
            design.name,
            design.role,
            number(design.template.batch_size),
            _configurations(design),
            f"{cost.members:,}",
            f"{cost.updates_per_member:,.0f}",
            f"{1e3 * cost.seconds_per_update:.2f}",
            duration(cost.core_s),
        )
    out.show(table)
    out.line()
    out.line("first configurations:")
    first = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    first.add_column("arm", no_wrap=True)
    first.add_column("configuration")
    for arm, lines in first_configurations(space).items():
        for index, line in enumerate(lines):
            first.add_row("" if index else arm, line)
    out.show(first)
    out.line()


def first_configurations(space: Space) -> dict[str, list[str]]:
    """Return the first configurations that each arm tries, as text."""
    designs = checked_designs(space)
    of_arms = proposers(space, designs)
    found: dict[str, list[str]] = {}
    for design in designs:
        if design.derived_from is not None:
            what = "learning rate" if design.role == "copied" else "learning rate per example"
            found[design.name] = [f"the {what} that {design.derived_from} selects"]
        elif not design.dimensions:
            found[design.name] = ["nothing is searched"]
        else:
            shown = range(min(NUM_SHOWN, design.num_samples))
            found[design.name] = _configurations_of(design, shown, of_arms[design.name])
    return found


def costs(space: Space, estimate: Estimate) -> dict[str, Any]:
    """Return the plan as plain values, times in seconds."""
    first = first_configurations(space)
    keys = ("arm", "members", "updates_per_member", "seconds_per_update", "core_s", "evaluation_s", "looking_s")
    arms = [
        {key: getattr(arm, key) for key in keys}
        | {"num_examples": dict(zip(("train", "validation", "test"), arm.num_examples, strict=True))}
        | {"first_configurations": first[arm.arm]}
        for arm in estimate.arms
    ]
    totals = ("core_s", "wall_s", "concurrency", "disk_bytes", "already_done")
    return {"arms": arms} | {key: getattr(estimate, key) for key in totals}


def _configurations_of(design: ArmDesign, shown: Sequence[int], proposer: Proposer) -> list[str]:
    lines: list[str] = []
    proposed: list[Values] = []
    for index in shown:
        if index < len(design.combines):
            lines.append(f"the best of {design.combines[index]}")
            continue
        proposed.append(untried(design.dimensions, proposer.propose(index, []), proposed))
        lines.append(", ".join(f"{name} = {number(value)}" for name, value in proposed[-1].items()))
    return lines


def _configurations(design: ArmDesign) -> str:
    return "-" if design.derived_from is not None else number(design.num_samples)


def _table(*headers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for header in headers:
        table.add_column(header, justify="left" if header in ("arm", "role") else "right", no_wrap=True)
    return table
