"""Lists of parts that have fields of their own to search: one of several remedies, an optimizer with its settings.

    Arm("one_of", over([SAM(rho=over(0.01, 1.0, log=True)), GhostBatchNorm(ghost_batch_size=over([10, 20])), None]))
    Space(optimizer=over([SGD(momentum=over(0.0, 0.99)), Adam()]))

What is drawn is a dimension, whose values are names: of remedies (sam, ghost_batch_norm, none; sam+ema of a tuple of two), of
types (SGD, Adam). It is called remedy (remedy2 ... where an arm has several such lists), optimizer, model.type, schedule.type,
loss.type, initialization.type, as is its column. The fields of each alternative are dimensions that are there where it is drawn;
one that alternatives search over different domains is a dimension of each, with its name before it: SGD.momentum, LARS.momentum.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tune_lb.errors import RequestError, nearest
from tune_lb.settings.active import active
from tune_lb.settings.domain import Choice, Condition, Domain, Interval
from tune_lb.settings.identity import describe
from tune_lb.settings.setting import Settings
from tune_lb.training.remedy import Remedy
from tune_lb.training.remedy_combinations import combination_problems
from tune_lb.training.trial_columns import as_value, column_name, most_gradient_evaluations, part_columns

NONE = "none"
"""The alternative of no remedy."""

LISTED = ("optimizer", "schedule", "model", "loss", "initialization")
"""Fields of a trial that may hold such a list."""

MOST_COMBINATIONS = 1000
"""Of alternatives of several lists: so many are checked for whether their remedies go together."""


class PartList(NamedTuple):
    """A list: the name of its dimension, the field of the trial, and the parts of each alternative by its name."""

    name: str
    field: str
    alternatives: dict[str, tuple[Any, ...]]

    def fields(self, label: str) -> Iterator[tuple[str, Settings]]:
        """Yield the parts of an alternative that have fields, each with the prefix of their columns."""
        for part in self.alternatives[label]:
            if isinstance(part, Settings):
                yield (part.name if isinstance(part, Remedy) else self.field), part

    def searched(self) -> list[Searched]:
        """Return what is searched in its alternatives."""
        of_columns: dict[str, list[tuple[str, Domain]]] = {}
        for label in self.alternatives:
            for prefix, part in self.fields(label):
                for name, domain in part.dimensions().items():
                    of_columns.setdefault(column_name(prefix, name), []).append((label, domain))
        found = []
        for column, pairs in of_columns.items():
            if all(domain == pairs[0][1] for _, domain in pairs):
                found.append(Searched(column, column, pairs[0][1], tuple(label for label, _ in pairs)))
            else:
                found += [Searched(f"{label}.{column}", column, domain, (label,)) for label, domain in pairs]
        return found


class Searched(NamedTuple):
    """A searched field of alternatives of a list: its dimension, its column in the trial, its domain, and which have it."""

    name: str
    column: str
    domain: Domain
    labels: tuple[str, ...]


def part_lists(trial: Any) -> list[PartList]:
    """Return the lists of parts of an arm's trial; none in one that is resolved."""
    found = []
    for name in LISTED:
        values = getattr(trial, name).values if isinstance(getattr(trial, name), Choice) else ()
        if any(_searches(value) for value in values):
            dimension = name if name == "optimizer" else f"{name}.type"
            found.append(PartList(dimension, name, {_label((value,)): (value,) for value in values}))
    for i, choice in enumerate(trial.remedy_lists, 1):
        alternatives = {_label(parts): parts for parts in map(remedies_of, choice.values)}
        found.append(PartList("remedy" if i == 1 else f"remedy{i}", "remedies", alternatives))
    return found


def remedies_of(entry: Any) -> tuple[Any, ...]:
    """Return the remedies of an entry of a list: none, one, or a tuple of them."""
    return () if entry is None else tuple(entry) if isinstance(entry, tuple | list) else (entry,)


def listed_dimensions(lists: Sequence[PartList]) -> dict[str, Domain]:
    """Return the dimensions of lists: what is drawn, and the fields of the alternatives where they are drawn."""
    found: dict[str, Domain] = {one.name: Choice(tuple(one.alternatives)) for one in lists}
    for one in lists:
        found |= {
            own.name: dataclasses.replace(own.domain, only=Condition(one.name, own.labels)) for own in one.searched()
        }
    return found


def listed_names(lists: Sequence[PartList]) -> list[str]:
    """Return the names that lists have beside the columns of their parts: of what is drawn, and of fields of one alternative."""
    own = [field.name for one in lists for field in one.searched() if field.name != field.column]
    return [*own, *(one.name for one in lists)]


def drawn(trial: Any, values: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the trial with the alternatives that values name in the place of their lists, and the other values.

    Of lists that are not drawn from, the fields that values give are changed in every alternative.
    Raises RequestError for a name that the list does not have.
    """
    values = active(trial.dimensions(), values)
    left, chosen = dict(values), dict(trial.drawn)
    changes: dict[str, Any] = {}
    remedies, lists = list(trial.remedies), []
    for one in part_lists(trial):
        if one.name in left:
            label = left.pop(one.name)
            if label not in one.alternatives:
                known = f"none of {', '.join(one.alternatives)}{nearest(str(label), one.alternatives)}"
                raise RequestError(f"arm {trial.arm!r}: {one.name} = {label!r} is {known}")
            chosen[one.name], parts = label, one.alternatives[label]
            for own in one.searched():
                if own.name != own.column and own.name in left:
                    left[own.column] = chosen[own.name] = left.pop(own.name)
            if one.field == "remedies":
                remedies += parts
            else:
                changes[one.field] = parts[0]
            continue
        choice = Choice(tuple(_changed(one, label, values) for label in one.alternatives))
        parts_of = [pair for label in one.alternatives for pair in one.fields(label)]
        names = {column for prefix, part in parts_of for column in part_columns(prefix, part)}
        left = {name: value for name, value in left.items() if name not in names.union(listed_names([one]))}
        if one.field == "remedies":
            lists.append(choice)
        else:
            changes[one.field] = choice
    changes |= {"remedies": tuple(remedies), "remedy_lists": tuple(lists), "drawn": tuple(chosen.items())}
    return dataclasses.replace(trial, **changes), left


def whole_drawn(trial: Any, values: Mapping[str, Any]) -> dict[str, str]:
    """Return what the optimizer that values choose of a list is called, where its type does not say which one it is."""
    listed = trial.optimizer if isinstance(trial.optimizer, Choice) else Choice(())
    if "optimizer" not in values or any(map(_searches, listed.values)) or _differ_by_type(listed):
        return {}
    return {"optimizer": str(as_value(values["optimizer"]))}


def in_rows(name: str, domain: Domain) -> Domain:
    """Return the domain with its values as they stand in the column of its name."""
    if not isinstance(domain, Choice):
        return domain
    by_type = name == "optimizer" and _differ_by_type(domain)
    return dataclasses.replace(
        domain, values=tuple(type(value).__name__ if by_type else as_value(value) for value in domain.values)
    )


def _differ_by_type(listed: Choice) -> bool:
    """Whether the column of optimizers, which has their type, says of each which one it is."""
    return all(isinstance(value, Settings) for value in listed.values) and len(set(map(type, listed.values))) == len(
        listed.values
    )


def label_in(one: PartList, trial: Any) -> str:
    """Return the alternative of a list that a resolved trial of another arm has; else that of nothing, or the first."""
    label = dict(trial.drawn).get(one.name)
    if label in one.alternatives:
        return str(label)
    has = {remedy.name for remedy in trial.remedies}
    if one.field != "remedies":
        own = _label((getattr(trial, one.field),))
        return own if own in one.alternatives else next(iter(one.alternatives))
    known = {label: {part.name for part in parts} for label, parts in one.alternatives.items()}
    # the largest of those that it has whole
    whole = sorted((label for label, names in known.items() if names <= has), key=lambda label: -len(known[label]))
    return next(iter([*whole, *one.alternatives]))


def most_evaluations(lists: Sequence[PartList]) -> float:
    """Return the gradient evaluations of one update as a multiple of those without the lists' remedies, at most."""
    return math.prod(
        max(
            math.prod(most_gradient_evaluations(part) for part in parts if not part.is_neutral())
            for parts in one.alternatives.values()
        )
        for one in lists
        if one.field == "remedies"
    )


def list_problems(trial: Any, taken_names: Collection[str]) -> list[str]:
    """Return what is wrong with the lists of a trial, a line each."""
    found = []
    for name in LISTED:
        if isinstance(getattr(trial, name), Choice) and any(map(_searches, getattr(trial, name).values)):
            found += [f".{name}: {line}" for line in _entry_problems([(v,) for v in getattr(trial, name).values])]
    for i, choice in enumerate(trial.remedy_lists, 1):
        entries = [remedies_of(value) for value in choice.values]
        place = f": remedy{'' if i == 1 else i}"
        wrong = [part for parts in entries for part in parts if not isinstance(part, Remedy)]
        if any(isinstance(part, Choice | Interval) for part in wrong):
            found.append(f"{place}: over(...) in a list of remedies: put all that it may be in the one list")
        elif wrong:
            found.append(f"{place}: {wrong[0]!r} is not a remedy: a list holds remedies, tuples of remedies and None")
        elif not entries:
            found.append(f"{place}: over([]): an empty list of remedies")
        else:
            found += [f"{place}: {line}" for line in _entry_problems(entries)]
    if found:
        return found
    lists = part_lists(trial)
    names = [one.name for one in lists]
    fixed = {column for prefix, part in trial.parts().items() for column in part_columns(prefix, part)}
    found += [f": a remedy has the name of the column {name}; take another" for name in names if name in fixed]
    picks = itertools.product(*(one.alternatives.values() for one in lists if one.field == "remedies"))
    for pick in itertools.islice(picks if trial.remedy_lists else (), MOST_COMBINATIONS):
        found += [f": {line}" for line in combination_problems([*trial.remedies, *itertools.chain(*pick)], taken_names)]
    return list(dict.fromkeys(found))


def _entry_problems(entries: Sequence[tuple[Any, ...]]) -> list[str]:
    labels = [_label(parts) for parts in entries]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    found = []
    if twice is not None:
        found.append(f"{twice} is twice in the list: give it once, with over(...) for the fields that differ")
    for parts in entries:
        for part in parts:
            found += [
                f"{type(part).__name__}.groups: {name} is searched inside a list; give it an arm of its own"
                for group in getattr(part, "groups", ())
                if isinstance(group, Settings)
                for name in group.dimensions()
            ]
    return found


def _changed(one: PartList, label: str, values: Mapping[str, Any]) -> Any:
    """Return an entry of a list with the fields that values give."""
    found = []
    values = {**values, **{o.column: values[o.name] for o in one.searched() if o.name in values and label in o.labels}}
    for part in one.alternatives[label]:
        prefix = part.name if isinstance(part, Remedy) else one.field
        columns = part_columns(prefix, part) if isinstance(part, Settings) else {}
        given = {field: values[column] for column, field in columns.items() if column in values}
        found.append(part.resolved(given) if given else part)
    if one.field != "remedies":
        return found[0]
    return None if not found else found[0] if len(found) == 1 else tuple(found)


def _searches(value: Any) -> bool:
    return isinstance(value, Settings) and bool(value.dimensions())


def _label(parts: Sequence[Any]) -> str:
    """Return what an alternative is called: by the names of its remedies, or by its type."""
    names = [
        part.name if isinstance(part, Remedy) else type(part).__name__ if isinstance(part, Settings) else describe(part)
        for part in parts
    ]
    return "+".join(names) or NONE
