"""best: the selected configuration of each arm as plain PyTorch code, with its cost and its interval."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tune_lb.cell import Split
from tune_lb.cli.answer import analyse
from tune_lb.cli.asked import FIELD_OPTIONS, asked_space, check_run_name, search_command
from tune_lb.cli.output import Output, number, on_run
from tune_lb.cli.recipe import recipe
from tune_lb.cli.status import find_run
from tune_lb.errors import RequestError, nearest
from tune_lb.ledger import Ledger
from tune_lb.proposals import recorded_proposals
from tune_lb.results import read_members, read_space
from tune_lb.search import Search
from tune_lb.space import Space
from tune_lb.storage import Store
from tune_lb.trial import Trial


def run(given: argparse.Namespace, out: Output) -> int:
    """Print the recipes; with one arm the output is a Python file."""
    check_run_name(given.name)
    store = find_run(given.name, given.storage)
    known = read_space(store)
    every = [arm["name"] for arm in known["arms"]]
    if given.arm is not None and given.arm not in every:
        raise RequestError(f"run {given.name} has no arm {given.arm!r}{nearest(given.arm, every)}")
    answer = analyse(given.name, given.storage, figures=False)
    arms = list(answer["best"]) if given.arm is None else [given.arm]
    if given.arm is not None and given.arm not in answer["best"]:
        again = search_command(known["asked"])
        raise RequestError(f"run {given.name}, arm {given.arm!r}: nothing is selected yet; go on with {again}")
    space = asked_again(known)
    trials = selected_trials(store, space, known)
    rows = {row["arm"]: row for row in answer["rows"]}
    recipes = {}
    for arm in arms:
        split = int(answer["best"][arm]["split_seed"])
        facts = facts_of(given.name, space.question, rows[arm], answer["best"][arm])
        recipes[arm] = recipe(trials[arm, split], space.data.load(split), facts)
    for arm, code in recipes.items():
        if given.arm is None:
            out.line(f"# {'-' * 20} {arm} {'-' * 20}", style="bold")
        out.line(code)
    file = f"{on_run('best', given.name, given.storage, (arms or ['ARM'])[-1])} > recipe.py && python recipe.py"
    out.close({"run": given.name, "recipes": recipes}, file if given.arm is None else "python recipe.py", mark="# ")
    return 0


def asked_again(known: Mapping[str, Any]) -> Space:
    """Return the space of a run, loaded anew from where it was. Raises RequestError where it is gone or another."""
    asked = known["asked"]
    path = str(asked.get("path", ""))
    argument = path if Path(path).is_file() else str(asked.get("space"))
    options = {key: asked.get("options", {}).get(key) for key in FIELD_OPTIONS}
    _, space = asked_space(argument, asked.get("overrides", []), options)
    if space.hash() != known["hash"]:
        raise RequestError(
            f"search space {argument} has changed since run {known['name']!r}: put back what was searched then"
        )
    return space


def selected_trials(store: Store, space: Space, known: Mapping[str, Any]) -> dict[tuple[str, int], Trial]:
    """Return the selected configuration of every (arm, split seed) that has one, from the results."""
    data = known["data"]
    splits = {int(seed): Split(print_, data["num_validation"]) for seed, print_ in data["fingerprints"].items()}
    proposed = recorded_proposals(Ledger(store.child("ledger")), space.designs())
    state = Search(space, splits, proposed=proposed)
    members, _ = read_members(store)
    for row in members.select(["trial_id", "seed", "status", "validation_error"]).to_pylist():
        if row["status"] in ("completed", "diverged", "stopped"):
            state.observe(row["trial_id"], {row["seed"]: row["validation_error"] or 0.0})
    found = {(arm, split): state.selected(arm, split) for arm, split in state.cells}
    return {key: candidate.trial for key, candidate in found.items() if candidate is not None}


def facts_of(name: str, question: str, row: Mapping[str, Any], best: Mapping[str, Any]) -> list[str]:
    """Return what is known of an arm: what it reached, how it compares, what it costs."""
    cells = row["cells"]
    error = f"test error {cells['test error %']} % over {row['n']} trainings"
    if row["test_error_low"] is not None:
        error += f", 95 % interval [{100 * row['test_error_low']:.2f}, {100 * row['test_error_high']:.2f}]"
    lines = [f"{row['arm']}: best configuration of run {name}", "", question, "", error]
    if row["difference"] is not None:
        claim = row["claim_reason"] or "told from it, and above the noise floor"
        lines.append(f"against the large batch with no remedy: {cells['difference, points']} points; {claim}")
    cost = f"{cells['updates']} updates, {cells['gradient evaluations']} gradients of a batch, {cells['seconds']} s"
    lines.append(f"cost of a training: {cost}")
    return lines + _other_splits(best)


def _other_splits(best: Mapping[str, Any]) -> list[str]:
    chosen = str(best["split_seed"])
    lines = []
    for split, values in sorted(best["by_split"].items(), key=lambda item: int(item[0])):
        text = ", ".join(f"{key} = {number(value)}" for key, value in values.items() if value is not None)
        where = "below" if split == chosen else "not below"
        lines.append(f"selected in split {split} ({where}): {text or 'nothing was searched'}")
    return lines
