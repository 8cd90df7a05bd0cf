"""Fields that spaces had under the design of search, rescreen and confirm, and what says now what they said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SUCCESSORS = {
    "seeds": "a searched configuration has one member; give num_samples of them",
    "split_seeds": "every block cuts the data anew; give decide_blocks and confirm_blocks (fresh_splits=False: one split)",
    "rescreen_seeds": "give candidates and decide_blocks: the best of the search are decided between in fresh blocks",
    "confirm_seeds": "give confirm_blocks and block_seeds: the members of an arm's result",
}

_NO_LONGER = ("split_seeds", "select_by", "arm placebo: draws")


def successor(name: str) -> str:
    """Return what is to be given in place of a field, as "; ...", or nothing for a field that never was."""
    return f"; {SUCCESSORS[name]}" if name in SUCCESSORS else ""


def without_old(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a search was asked (of its space.json), without KEY=VALUE words and options of fields that are gone."""
    words = [word for word in asked.get("overrides", []) if str(word).partition("=")[0] not in SUCCESSORS]
    options = {key: value for key, value in asked.get("options", {}).items() if key not in SUCCESSORS}
    return {**asked, "overrides": words, "options": options}


def trained_alike(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return a description of an old run and one of now without what says how configurations were chosen: what is left trains."""
    kept = old.keys() - set(_NO_LONGER)
    shared = {key: value for key, value in old.items() if key in kept}
    return shared, {
        key: value for key, value in new.items() if key in kept or (key.startswith("arm ") and key not in _NO_LONGER)
    }
