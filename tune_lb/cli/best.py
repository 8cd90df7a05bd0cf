"""best: the selected configuration of each arm as plain PyTorch code, with its cost and its interval."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from tune_lb.cli.answer import analyse
from tune_lb.cli.asked import search_command
from tune_lb.cli.output import Output, number, on_run
from tune_lb.cli.runs import check_run_name, find_run, space_of_run
from tune_lb.errors import RequestError, nearest, user_code
from tune_lb.recipe.recipe import recipe
from tune_lb.results.run_files import read_space
from tune_lb.search.job import FIRST_SEED
from tune_lb.tuning.replay import replayed_run, selected_trials


def run(given: argparse.Namespace, out: Output) -> int:
    """Print the recipes; with one arm the output is a Python file."""
    check_run_name(given.name)
    store = find_run(given.name, given.storage)
    known = read_space(store)
    every = [arm["name"] for arm in known["arms"]]
    if given.arm is not None and given.arm not in every:
        raise RequestError(f"run {given.name} has no arm {given.arm!r}{nearest(given.arm, every)}")
    answer = analyse(given.name, given.storage, write=False)
    arms = list(answer["best"]) if given.arm is None else [given.arm]
    if given.arm is not None and given.arm not in answer["best"]:
        again = search_command(known["asked"])
        raise RequestError(f"run {given.name}, arm {given.arm!r}: nothing is selected yet; go on with {again}")
    space = space_of_run(known)
    trials = selected_trials(replayed_run(store, space, known))
    rows = {row["arm"]: row for row in answer["rows"]}
    recipes = {}
    for arm in arms:
        split = int(answer["best"][arm]["split_seed"])
        facts = facts_of(given.name, space.question, rows[arm], answer["best"][arm], known.get("error"))
        trial = trials[arm, split][1]
        with user_code(f"arm {arm!r}", made_by=trial.model):
            recipes[arm] = recipe(trial, trial.data.load(split), facts, FIRST_SEED["confirm"])
    for arm, code in recipes.items():
        if given.arm is None:
            out.line(f"# {'-' * 20} {arm} {'-' * 20}", style="bold")
        out.line(code)
    file = f"{on_run('best', given.name, given.storage, (arms or ['ARM'])[-1])} > recipe.py && python recipe.py"
    out.close({"run": given.name, "recipes": recipes}, file if given.arm is None else "python recipe.py", mark="# ")
    return 0


def facts_of(
    name: str, question: str, row: Mapping[str, Any], best: Mapping[str, Any], kind: Mapping[str, Any] | None = None
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
    return lines + _other_splits(best)


def _other_splits(best: Mapping[str, Any]) -> list[str]:
    chosen = str(best["split_seed"])
    lines = []
    for split, values in sorted(best["by_split"].items(), key=lambda item: int(item[0])):
        text = ", ".join(f"{key} = {number(value)}" for key, value in values.items() if value is not None)
        where = "below" if split == chosen else "not below"
        lines.append(f"selected in split {split} ({where}): {text or 'nothing was searched'}")
    return lines
