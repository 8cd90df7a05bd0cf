"""best: the selected configuration of each arm as plain PyTorch code, with its cost and its interval."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from tune_lb.cli.answer import analyse
from tune_lb.cli.asked import search_command
from tune_lb.cli.output import Output, on_run
from tune_lb.cli.runs import check_run_name, find_run, space_of_run
from tune_lb.data.device import Parts, on_device
from tune_lb.errors import RequestError, nearest, user_code
from tune_lb.observation.stored_members import trial_of
from tune_lb.recipe.recipe import recipe
from tune_lb.results.code_versions import counts
from tune_lb.results.columns import FINISHED
from tune_lb.results.run_files import read_members, read_space
from tune_lb.results.storage import Store
from tune_lb.search.blocks import FIRST
from tune_lb.search.lending import with_lenders
from tune_lb.space.checks import checked_designs
from tune_lb.space.space import Space
from tune_lb.training.trial import Trial
from tune_lb.tuning.replay import of_old_design, replayed_run
from tune_lb.tuning.taking import made_whole


def run(given: argparse.Namespace, out: Output) -> int:
    """Print the recipes; with one arm the output is a Python file."""
    check_run_name(given.name)
    store = find_run(given.name, given.storage)
    known = read_space(store)
    every = [arm["name"] for arm in known["arms"]]
    if given.arm is not None and given.arm not in every:
        raise RequestError(f"run {given.name} has no arm {given.arm!r}{nearest(given.arm, every)}")
    answer = analyse(given.name, given.storage, write=False)
    space = space_of_run(known)
    trials = selected_trials(store, space, known)
    arms = list(trials) if given.arm is None else [given.arm]
    if given.arm is not None and given.arm not in trials:
        again = search_command(known["asked"])
        raise RequestError(f"run {given.name}, arm {given.arm!r}: nothing is selected yet; go on with {again}")
    rows = {row["arm"]: row for row in answer["rows"]}
    recipes = {}
    for arm in arms:
        trial = trials[arm]
        facts = facts_of(given.name, space.question, rows[arm], trial.split_seed, known.get("error"))
        with user_code(f"arm {arm!r}", made_by=trial.model):
            recipes[arm] = recipe(trial, trial.data.load(trial.split_seed), facts, FIRST["confirm"])
    for problem in answer["problems"]:
        # stdout is a Python file
        print(f"left out: {problem}", file=sys.stderr)
    for arm, code in recipes.items():
        if given.arm is None:
            out.line(f"# {'-' * 20} {arm} {'-' * 20}", style="bold")
        out.line(code)
    file = f"{on_run('best', given.name, given.storage, (arms or ['ARM'])[-1])} > recipe.py && python recipe.py"
    out.close({"run": given.name, "recipes": recipes}, file if given.arm is None else "python recipe.py", mark="# ")
    return 0


def selected_trials(store: Store, space: Space, known: Mapping[str, Any]) -> dict[str, Trial]:
    """Return the configuration that stands for each arm, in the split of its first confirmed member, once it has one.

    One that takes from another arm takes it from the run's files. Raises RequestError where they are gone.
    """
    rows = [row for row in read_members(store)[0].to_pylist() if counts(row, known.get("code", {}))]
    rows = [row for row in rows if row["stage"] == "confirm" and row["status"] in FINISHED]
    if of_old_design(known):
        named = known.get("selected", {})
        rows = [row for row in rows if row["trial_id"] in named.get(row["arm"], {}).values()]
        designs = {design.name: design for design in checked_designs(space)}
        first = {row["arm"]: row for row in sorted(rows, key=lambda row: row["split_seed"], reverse=True)}
        return {name: trial_of(design, first[name]) for name, design in designs.items() if name in first}
    state = replayed_run(store, space, known)
    there = {(row["arm"], row["configuration_id"]) for row in rows}
    found: dict[str, Trial] = {}
    for arm in state.arms:
        chosen = state.selected(arm)
        if chosen is not None and (arm, chosen.configuration_id) in there:
            member = state.members(arm, "confirm", chosen)[0]
            found[arm] = made_whole(with_lenders(state, member) or member, store, space.watch, _parts_of)
    return found


def _parts_of(trial: Trial) -> Parts:
    return on_device(trial.data.load(trial.split_seed), "cpu")


def facts_of(
    name: str, question: str, row: Mapping[str, Any], split_seed: int, kind: Mapping[str, Any] | None = None
) -> list[str]:
    """Return what is known of an arm: what it reached, how it compares, what it costs. kind: of error, as space.json has it."""
    cells = row["cells"]
    error = f"test error {cells['test error %']} % over {row['n']} trainings"
    if row["test_error_low"] is not None:
        error += f", 95 % interval [{100 * row['test_error_low']:.2f}, {100 * row['test_error_high']:.2f}]"
    if kind is not None:
        hundredths = "" if kind["is_share"] else ", of which % and points are hundredths"
        error += f" (errors are each the {kind['title']}{hundredths})"
    lines = [f"{row['arm']}: best configuration of run {name}", "", question, "", error]
    if row["difference"] is not None:
        claim = row["claim_reason"] or "told from it, and above the noise floor"
        lines.append(f"against the large batch with no remedy: {cells['difference, points']} points; {claim}")
    cost = f"{cells['updates']} updates, {cells['gradient evaluations']} gradients of a batch, {cells['seconds']} s"
    lines.append(f"cost of a training: {cost}")
    return [*lines, f"below: its first confirmed member, in split {split_seed}"]
