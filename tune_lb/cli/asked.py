"""What was asked: overrides read from the command line, the space they make, and the command that asks it again."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tune_lb.cli.output import command
from tune_lb.errors import RequestError
from tune_lb.settings.domain import over
from tune_lb.space.until import Until

if TYPE_CHECKING:
    from tune_lb.space.loading import Loaded
    from tune_lb.space.space import Space

FIELD_OPTIONS = (
    "num_samples",
    "candidates",
    "decide_blocks",
    "confirm_blocks",
    "confirm_until",
    "block_seeds",
    "members_per_arm",
    "measured_blocks",
    "sampler",
)
"""Options that are fields of the space under another name."""

CALLED: dict[str, Callable[..., Any]] = {"over": over, "Until": Until}
"""What a value may be a call of."""

OPTIONS = ("name", "scale", *FIELD_OPTIONS, "storage", "address", "gpus_per_trial", "cpus_per_trial", "max_concurrent")


def read_overrides(words: Sequence[str]) -> tuple[list[tuple[str, Any]], list[str]]:
    """Return (key, value) of each KEY=VALUE, and what is wrong with the others.

    A value is a Python literal (5, 1e-3, True, None, [0, 1]), a domain (over(1, 4), over([1, 2])), Until(0.2) or, where it is none
    of these, the string as typed; "none" is None where the field may be None (Space.overridden).
    """
    changes: list[tuple[str, Any]] = []
    problems = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not re.fullmatch(r"\w+(\.\w+)*", key):
            problems.append(f"{word}: not of the form KEY=VALUE")
            continue
        if key in [known for known, _ in changes]:
            problems.append(f"{word}: {key} is given twice")
        try:
            changes.append((key, _value(text)))
        except TypeError as error:
            problems.append(f"{word}: {error}")
    return changes, problems


def asked_space(
    argument: str, words: Sequence[str], options: Mapping[str, Any] | None = None, scale: str | None = None
) -> tuple[Loaded, Space]:
    """Return the space with all changes made and checked. Raises RequestError with every mistake."""
    # a second or two, which commands that load no space do without
    from tune_lb.space.checks import space_problems
    from tune_lb.space.loading import load_space

    loaded = load_space(argument, scale)
    changes, problems = read_overrides(words)
    given = {key: value for key, value in (options or {}).items() if value is not None}
    for key in given.keys() & {key for key, _ in changes}:
        problems.append(f"{key} is given twice: as {key}=... and as --{key.replace('_', '-')}")
    until = given.pop("confirm_until", None)
    if until is not None:
        if "confirm_blocks" in given or "confirm_blocks" in {key for key, _ in changes}:
            problems.append("confirm_blocks is given twice: as a number and as --confirm-until")
        given["confirm_blocks"] = Until(half_width=until)
    try:
        space = loaded.space.overridden([*changes, *given.items()])
    except RequestError as error:
        raise RequestError([*problems, *error.problems]) from error
    problems += space_problems(space)
    if problems:
        raise RequestError(problems)
    return loaded, space


def asked_of(given: argparse.Namespace, loaded: Loaded) -> dict[str, Any]:
    """Return what a search was asked, as space.json keeps it: as typed, and where the space lies."""
    options = {key: getattr(given, key) for key in OPTIONS if getattr(given, key) is not None}
    found = {"space": given.space, "path": str(loaded.path), "overrides": list(given.overrides), "options": options}
    return found | ({"smoke": True} if given.smoke else {})


def search_command(asked: Mapping[str, Any]) -> str:
    """Return the search command that goes on with a run, from what space.json keeps."""
    return command(*search_words(asked))


def search_words(asked: Mapping[str, Any]) -> list[str]:
    """Return the words of that command after the program's name."""
    words = ["search", str(asked.get("space", "SPACE")), *map(str, asked.get("overrides", []))]
    for key, value in asked.get("options", {}).items():
        if value is not None and not (key == "storage" and value == "runs"):
            words += [f"--{key.replace('_', '-')}", str(value)]
    return words + ["--smoke"] * bool(asked.get("smoke"))


def _value(text: str) -> Any:
    try:
        tree = ast.parse(text, mode="eval").body
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in CALLED:
            named = {str(word.arg): ast.literal_eval(word.value) for word in tree.keywords}
            return CALLED[tree.func.id](*map(ast.literal_eval, tree.args), **named)
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
