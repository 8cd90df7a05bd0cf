"""Several runs beside each other: what differs in their spaces, whether they can be compared, and which arms they share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analysis.asked import DERIVED_ROLES
from analysis.notation import count, listed
from analysis.results import Results
from analysis.run import Run
from tune_lb.errors import RequestError
from tune_lb.settings.differences import as_written, differing, parted

PROCEDURE = ("num_samples", "candidates", "decide_blocks", "select_by", "sampler", "fresh_splits")
"""What finds an arm's configuration, in space.json: arms for which it is not the same are not the same arm."""
STAGES = ("confirm_blocks", "block_seeds", "measured_blocks", "watched_blocks")
"""How much of it was asked for, in space.json."""
EVERY_ARM = "every arm"


def same_kind(runs: Mapping[str, Run]) -> dict[str, Results]:
    """The runs, all of blocks. Raises RequestError, a line, where they cannot be compared at all."""
    names, found = list(runs), [run for run in runs.values() if isinstance(run, Results)]
    if len(found) < len(runs):
        old = [name for name, run in runs.items() if not isinstance(run, Results)]
        raise _refused(
            names, f"{listed(old)} {'is' if len(old) == 1 else 'are'} of the old design, whose members have no blocks"
        )
    for what, of_run in (("errors", _errors), ("data", _data)):
        said = {name: of_run(run) for name, run in runs.items()}
        if len(set(said.values())) > 1:
            raise _refused(
                names, f"their {what} are not the same: {', '.join(f'{said[n]} in {n}' for n in dict.fromkeys(names))}"
            )
    prints = {name: run.space["data"].get("fingerprints", {}).get("0") for name, run in runs.items()}
    if _sizes_alike(found) and len({text for text in prints.values() if text}) > 1:
        raise _refused(
            names,
            f"their data are called {found[0].asked.data} and are of the same sizes, but not of the same content "
            f"({', '.join(f'fingerprint {text} in {name}' for name, text in prints.items())})",
        )
    return dict(zip(names, found, strict=True))


def _refused(names: Sequence[str], why: str) -> RequestError:
    return RequestError(f"runs {listed(list(names))} cannot be compared: {why}; report each by itself")


def _errors(run: Run) -> str:
    return run.asked.error or "shares of misclassified examples"


def _data(run: Run) -> str:
    return f"{run.asked.data} ({run.asked.num_classes} classes)" if run.asked.num_classes else run.asked.data


def _sizes(run: Run) -> tuple[int | None, ...]:
    return (run.asked.num_train, run.asked.num_validation, run.asked.num_test)


def _sizes_alike(runs: Sequence[Run]) -> bool:
    return len({_sizes(run) for run in runs}) == 1


def why_not_paired(runs: Mapping[str, Results]) -> list[str]:
    """Why blocks of different runs cannot be paired, so that no difference between their arms is given; [] where they can."""
    found = list(runs.values())
    reasons = []
    if not _sizes_alike(found):
        said = ", ".join(
            f"{'/'.join(count(n) for n in _sizes(run) if n is not None)} in {n}" for n, run in runs.items()
        )
        reasons.append(f"the data are cut into parts of other sizes (train/validation/test: {said})")
    designs = [run.asked.design for run in found]
    if len({design.fresh_splits for design in designs if design}) > 1:
        fresh = [name for name, run in runs.items() if run.asked.design and run.asked.design.fresh_splits]
        reasons.append(f"only {listed(fresh)} cuts the data anew in every block")
    early = [name for name, run in runs.items() if run.asked.design and run.asked.design.early]
    if early:
        reasons.append(
            f"arms of {listed(early)} stopped when they were told from its reference, at levels of that run alone"
        )
    return reasons


def arm_identities(run: Results) -> dict[str, str]:
    """Arm -> a text that is equal in two runs for what is the same arm there.

    What it is and searches, how its configuration is found, which was, and with which code of the user's; of derived arms also the
    baseline's.
    """
    space = run.space
    _, described = parted(space.get("resolved") or {})
    procedure = {name: space.get(name) for name in PROCEDURE} | {"seed": (space.get("resolved") or {}).get("seed")}
    found: dict[str, str] = {}
    for entry in space.get("arms") or ():
        name = entry["name"]
        code = (space.get("code") or {}).get(name, {}).get("fingerprint")
        selected = (space.get("selected") or {}).get(name)
        found[name] = json.dumps([entry, described.get(name), procedure, code, selected], sort_keys=True)
    of_baseline = found.get(str(run.asked.baseline), "")
    derived = [arm.name for arm in run.asked.arms if arm.role in DERIVED_ROLES]
    return found | {name: found[name] + of_baseline for name in derived if name in found}


def names_here(runs: Mapping[str, Results], *, paired: bool) -> dict[str, dict[str, str]]:
    """Run -> arm -> what it is called among several runs: its own name where two of them share it, else RUN/ARM.

    paired: False where no arm can be shared. Of two different arms that are shared under one name the later has its first run's.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for name, run in runs.items():
        identities = arm_identities(run)
        for arm in run.asked.order(sorted({*identities, *map(str, run.frames.members["arm"].unique())})):
            own = identities.get(arm) if paired else None
            groups.setdefault((arm, own or f"of {name} alone"), []).append(name)
    found: dict[str, dict[str, str]] = {name: {} for name in runs}
    taken: set[str] = set()
    for (arm, _), names in groups.items():
        called = arm if len(names) > 1 and arm not in taken else f"{names[0]}/{arm}"
        taken.add(called)
        for name in names:
            found[name][arm] = called
    return found


def settings_that_differ(runs: Mapping[str, Results]) -> list[dict[str, str]]:
    """A row for each setting that is not the same in all runs: setting -> what each has; what differs in every arm stands once."""
    names = list(runs)
    trees = [parted(run.space.get("resolved") or {}) for run in runs.values()]
    rows = [_row(names, *line) for line in _of_spaces(list(runs.values()), [space for space, _ in trees])]
    of_arms = [arms for _, arms in trees]
    common = [arm for arm in of_arms[0] if all(arm in arms for arms in of_arms)]
    found = {arm: differing([arms[arm] for arms in of_arms]) for arm in common}
    everywhere = [line for line in found[common[0]] if all(line in found[arm] for arm in common)] if common[1:] else []
    rows += [_row(names, f"{path} ({EVERY_ARM})", *values) for path, *values in everywhere]
    rows += [
        _row(names, f"{path} ({arm})", *values)
        for arm in common
        for path, *values in (line for line in found[arm] if line not in everywhere)
    ]
    only = [
        [arm for arm in arms if all(arm not in other for k, other in enumerate(of_arms) if k != own)]
        for own, arms in enumerate(of_arms)
    ]
    if any(only):
        rows.append(_row(names, "arms that no other has", *(", ".join(arms) or "none" for arms in only)))
    return rows


def _of_spaces(runs: Sequence[Results], resolved: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Settings of the whole space: what it resolved to, how much was asked for, sizes of the data, the user's code."""
    asked = [
        {**{key: run.space.get(key) for key in (*PROCEDURE, *STAGES)}, **found}
        for run, found in zip(runs, resolved, strict=True)
    ]
    yield from differing(asked)
    for part in ("num_train", "num_validation", "num_test"):
        sizes = [run.space["data"].get(part) for run in runs]
        if len(set(sizes)) > 1:
            yield (f"data: {part}", *map(as_written, sizes))


def _row(names: Sequence[str], setting: str, *values: str) -> dict[str, str]:
    return {"setting": setting} | dict(zip(names, values, strict=True))
