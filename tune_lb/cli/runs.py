"""The runs in a storage: by name, and the space that one was made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.fs as fs

from tune_lb.cli.asked import FIELD_OPTIONS, asked_space
from tune_lb.errors import RequestError, nearest
from tune_lb.results.run_files import of_old_design
from tune_lb.results.storage import Store

if TYPE_CHECKING:
    from tune_lb.space.space import Space

RUN_NAME = re.compile(r"\w[\w.-]*")


def check_run_name(name: str) -> None:
    """Refuse a name that is no plain folder name."""
    if not RUN_NAME.fullmatch(name):
        raise RequestError(
            f"run {name!r}: a name is letters, digits, _, - and dots, and does not begin with a dot or -"
        )


def find_run(name: str, storage: str) -> Store:
    """Return the folder of a run. Raises RequestError, with the names of those there are, where it has none."""
    runs = Store(storage)
    store = runs.child(name)
    if not store.exists("space.json"):
        raise RequestError(f"there is no run {name!r} in {runs.location}{nearest(name, run_names(runs))}")
    return store


def run_names(runs: Store) -> list[str]:
    """Return the names of the runs in a storage."""
    found = runs.filesystem.get_file_info(fs.FileSelector(runs.root, allow_not_found=True))
    folders = [info.base_name for info in found if info.type == fs.FileType.Directory]
    return sorted(name for name in folders if runs.exists(f"{name}/space.json"))


def asked_here(known: Mapping[str, Any], name: str, storage: str) -> dict[str, Any]:
    """Return what a run's search was asked, with the name and storage that the run has now: its folder may have been moved.

    known: the run's space.json. A path to a space that does not lead there from here is given whole.
    """
    asked = dict(known.get("asked", {}))
    if "space" not in asked:
        return asked
    options = dict(asked.get("options", {}))
    options.pop("storage", None)
    # a smoke run has its own name, made from that of the space
    name = name.removesuffix("_smoke") if asked.get("smoke") else name
    given = {"name": name} if name != Path(str(asked["space"])).stem or "name" in options else {}
    options = {**options, **given, **({"storage": storage} if storage != "runs" else {})}
    space = str(asked["space"])
    is_path = "/" in space or space.endswith(".py")
    if is_path and not Path(space).exists() and "path" in asked:
        space = str(asked["path"])
    return {**asked, "space": space, "options": options}


def space_of_run(known: Mapping[str, Any]) -> Space:
    """Return the space that a run was made of, loaded anew. Raises RequestError where it is gone, or has changed, with how.

    known: the run's space.json.
    """
    # a second or two, which commands that load no space do without
    from tune_lb.space.changes import MAX_LINES, changes
    from tune_lb.space.checks import checked_designs
    from tune_lb.space.description import description
    from tune_lb.space.loading import declared, space_names
    from tune_lb.space.old_fields import trained_alike, without_old
    from tune_lb.space.own_code import code_of_arms
    from tune_lb.space.smoke import smoke
    from tune_lb.tuning.code_changes import changed_code

    asked = known.get("asked", {})
    if "space" not in asked:
        raise RequestError("the run does not say which space it was made of; it was not made by `search`")
    where = str(asked["space"] if asked["space"] in space_names() else asked.get("path", asked["space"]))
    old = of_old_design(known)
    asked = without_old(asked) if old else asked
    options = {key: value for key, value in asked.get("options", {}).items() if key in FIELD_OPTIONS}
    scale = asked.get("options", {}).get("scale")
    if old and where in space_names() and declared(where).rows:
        scale = "paper"  # there was no other then
    _, space = asked_space(where, asked.get("overrides", []), options, scale)
    space = smoke(space) if asked.get("smoke") else space
    was, now = known["resolved"], description(space)
    lines = changes(*(trained_alike(was, now) if old else (was, now)))
    if lines:
        head = f"search space {where} has changed since the run, so its members cannot be made again. What differs:"
        raise RequestError("\n".join([head, *lines[:MAX_LINES], "put back what was searched then"]))
    before = known.get("code", {})
    codes = {arm: {"definitions": code} for arm, code in code_of_arms(checked_designs(space)).items()}
    lines = changed_code(before, codes)
    if lines:
        head = f"the code of search space {where} has changed since the run, so its members cannot be made again. What changed:"
        tail = "put it back, or train these arms anew with `search ... --accept-code-change`"
        raise RequestError("\n".join([head, *lines[:MAX_LINES], tail]))
    return space
