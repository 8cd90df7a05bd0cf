"""Optuna: a study for each arm that searched, named RUN.ARM, in one journal file; optuna.load_study and optuna-dashboard open it.

A trial is a configuration of the search stage, its value what configurations are ranked by there (validation loss or error); one
that diverged is pruned, and so is one that was stopped early, with what it was at the looks as intermediate values. What the decide
and confirm stages say of it stands in its user attributes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tune_lb.export.exported import Exported
from tune_lb.results.stopped import looks_passed
from tune_lb.results.stored_dimensions import is_there

CONFIGURATION = "configuration_id"


class Optuna:
    """Writes studies into FOLDER/studies.log. known: the run's space.json."""

    def __init__(self, folder: Path, run: str, known: Mapping[str, Any]) -> None:
        self.folder, self.run, self.known = folder, run, known
        self.file = folder / "studies.log"
        self.value = "validation_error" if known.get("select_by") == "error" else "validation_loss"
        self.members: list[Exported] = []

    @property
    def place(self) -> str:
        """The journal file."""
        return str(self.file)

    def write(self, members: Sequence[Exported]) -> None:
        """Take in members."""
        self.members += members

    def close(self) -> int:
        """Write the configurations that are not there."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder.mkdir(parents=True, exist_ok=True)
        written = 0
        try:
            storage = JournalStorage(JournalFileBackend(str(self.file)))
            for arm in self.known["arms"]:
                own = [member for member in self.members if member.row["arm"] == arm["name"]]
                searched = [member for member in own if member.row["stage"] == "search"]
                if not searched or not arm["dimensions"]:
                    continue
                study = optuna.create_study(
                    storage=storage, study_name=f"{self.run}.{arm['name']}", direction="minimize", load_if_exists=True
                )
                if "value" not in study.user_attrs:
                    study.set_user_attr("value", self.value)
                there = {trial.user_attrs.get(CONFIGURATION) for trial in study.get_trials(deepcopy=False)}
                new = [member for member in searched if _configuration(member) not in there]
                written += len(new)
                study.add_trials([self._trial(member, arm["dimensions"], own) for member in new])
        finally:
            optuna.logging.set_verbosity(before)
        return written

    def _trial(self, member: Exported, dimensions: Mapping[str, Mapping[str, Any]], own: Sequence[Exported]) -> Any:
        import optuna
        from optuna.trial import TrialState

        distributions = {name: _distribution(domain) for name, domain in dimensions.items()}
        values = {
            name: _value(member.row.get(name), domain)
            for name, domain in dimensions.items()
            if is_there(domain, member.row)
        }
        # what an arm takes from those that it combines may lie outside of its range
        inside = {name: value for name, value in values.items() if _is_inside(value, dimensions[name])}
        outside = {f"param.{name}": value for name, value in values.items() if name not in inside}
        found = member.row.get(self.value)
        counts = found is not None and math.isfinite(found) and member.row["status"] != "diverged"
        trial = optuna.trial.create_trial(
            state=TrialState.COMPLETE if counts and member.row["status"] != "stopped" else TrialState.PRUNED,
            value=float(found) if counts and found is not None else None,
            params=inside,
            distributions={name: distributions[name] for name in inside},
            user_attrs={**_attributes(member, own), **outside},
            intermediate_values=self._curve(member),
        )
        trial.datetime_start = datetime.fromtimestamp(member.began_s)
        trial.datetime_complete = datetime.fromtimestamp(member.ended_s)
        return trial

    def _curve(self, member: Exported) -> dict[int, float]:
        found = {p.step: p.value for p in member.history if p.name == self.value and math.isfinite(p.value)}
        looks = range(1, 1 + looks_passed(member.row))
        return found or {number: float(member.row[f"look{number}.{self.value}"]) for number in looks}


def _configuration(member: Exported) -> str:
    return str(member.row.get("configuration_id") or member.row["trial_id"])


def _attributes(member: Exported, own: Sequence[Exported]) -> dict[str, Any]:
    """Return what is known of a configuration beside its value."""
    name = _configuration(member)
    found: dict[str, Any] = {CONFIGURATION: name, "trial_id": member.key[0], "seed": member.key[1]}
    found |= {"arm": str(member.row["arm"]), "status": str(member.row["status"])}
    for stage, column in (("decide", "validation_loss"), ("decide", "validation_error"), ("confirm", "test_error")):
        rows = [m.row for m in own if m.row["stage"] == stage and _configuration(m) == name]
        values = [row[column] for row in rows if row.get(column) is not None and math.isfinite(row[column])]
        if values:
            found[f"{stage}.{column}"] = sum(values) / len(values)
            found[f"{stage}.members"] = len(values)
    return found


def _distribution(domain: Mapping[str, Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if "values" in domain:
        return CategoricalDistribution([_choice(value) for value in domain["values"]])
    log = bool(domain.get("log"))
    if domain.get("integer"):
        return IntDistribution(int(domain["low"]), int(domain["high"]), log=log)
    return FloatDistribution(float(domain["low"]), float(domain["high"]), log=log)


def _value(value: Any, domain: Mapping[str, Any]) -> Any:
    """Return a value of a row as a choice or number of its domain."""
    if value is None or "values" not in domain:
        return value
    choices = [_choice(choice) for choice in domain["values"]]
    return next(
        (choice for choice in choices if choice == value), next((c for c in choices if str(c) == str(value)), None)
    )


def _is_inside(value: Any, domain: Mapping[str, Any]) -> bool:
    """Say whether a value is one of a domain."""
    if "values" in domain:
        return any(_choice(choice) == value for choice in domain["values"])
    return value is not None and bool(domain["low"] <= value <= domain["high"])


def _choice(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
