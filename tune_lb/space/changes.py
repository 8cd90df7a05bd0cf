"""Changes: what differs between the space that a run was made of and the one that is asked for now, field by field."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tune_lb.errors import RequestError
from tune_lb.settings.differences import differing, parted
from tune_lb.training.trial_columns import PLAIN_PREFIXES

MAX_LINES = 12


def refuse_changed(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Raise RequestError, with every difference, where a run exists with another space (`description` of both).

    More num_samples are no other space: the configurations that are there are the first of them.
    """
    lines = changes({**old, "num_samples": new["num_samples"]} if _searches_more(old, new) else old, new)
    if not lines:
        return
    more = [f"and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
    head = f"run {name!r} exists with another space; its results cannot be mixed. What differs:"
    tail = "take another --name, or --fresh to delete what is there and start again"
    raise RequestError("\n".join([head, *(f"  {line}" for line in lines[:MAX_LINES] + more), tail]))


def _searches_more(old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    before, now = (json.loads(of.get("num_samples", "0")) for of in (old, new))
    return bool(0 < before < now)


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return one line for each field that differs, as it would be written in a space; what all arms share stands once."""
    (space, arms), (other_space, other_arms) = parted(old), parted(new)
    lines = [
        f"arms {what}: {', '.join(names)}"
        for what, names in (
            ("that are new", [arm for arm in other_arms if arm not in arms]),
            ("that are gone", [arm for arm in arms if arm not in other_arms]),
        )
        if names
    ]
    lines += [f"{path}: was {was}, now {now}" for path, was, now in differing((space, other_space), PLAIN_PREFIXES)]
    both = [arm for arm in arms if arm in other_arms]
    found = {arm: differing((arms[arm], other_arms[arm]), PLAIN_PREFIXES) for arm in both}
    everywhere = [change for change in found[both[0]] if all(change in found[arm] for arm in both)] if both[1:] else []
    lines += [f"arms.*.{path}: was {was}, now {now}" for path, was, now in everywhere]
    for arm in both:
        for path, was, now in found[arm]:
            if (path, was, now) not in everywhere:
                # an arm that is called like its remedy
                place = path if path.startswith(f"{arm}.") else f"{arm}.{path}"
                lines.append(f"arms.{place}: was {was}, now {now}")
    return lines
