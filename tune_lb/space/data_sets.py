"""The data sets of a space: which ones its arms are trained on, and what tells one from another.

An arm may have data of its own (`Arm("few", data=Digits(num_train=200))`) and may search them over a list. Each set is loaded once
in a run, by its source and the split seed.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from tune_lb.data.dataset import DataSource
from tune_lb.settings.domain import Choice, Domain
from tune_lb.settings.identity import identity
from tune_lb.space.designs import ArmDesign
from tune_lb.space.space import Space
from tune_lb.training.trial import Trial

PREFIX = "data."
Kept = TypeVar("Kept")


def source_name(source: DataSource) -> str:
    """Return what tells a source from every other: its identity as text."""
    return json.dumps(identity(source), sort_keys=True)


def data_dimensions(template: Trial) -> dict[str, Domain]:
    """Return the searched fields of a trial that make other data, by column name."""
    return {name: domain for name, domain in template.dimensions().items() if name == "data" or name.startswith(PREFIX)}


def data_domain_problems(template: Trial) -> list[str]:
    """Say which data are searched over a range: every configuration would then be a data set of its own."""
    return [
        f".{name}: data are searched over a list, over([...]), not over a range: every configuration would be a data set of its own"
        for name, domain in data_dimensions(template).items()
        if not isinstance(domain, Choice)
    ]


def sources_of(design: ArmDesign, others: Iterable[DataSource] = ()) -> list[DataSource]:
    """Return every data set that configurations of an arm may have, in the order of its lists.

    others: sources of the arms that it may take configurations from; of these come values that its own lists do not hold.
    """
    template = design.template
    lists: dict[str, list[Any]] = {}
    for name, domain in data_dimensions(template).items():
        field = name.removeprefix(PREFIX)
        taken = [other if name == "data" else getattr(other, field, None) for other in others]
        found = [*domain.to_check(), *(value for value in taken if value is not None)]
        lists[name] = list({json.dumps(identity(value), sort_keys=True): value for value in found}.values())
    trials = [template.resolved(dict(zip(lists, values, strict=True))) for values in itertools.product(*lists.values())]
    return list({source_name(trial.data): trial.data for trial in trials}.values())


def all_sources(space: Space, designs: Sequence[ArmDesign]) -> dict[str, DataSource]:
    """Return every data set of a run by its name; the first is the run's own, which is described without naming an arm.

    That is the space's, where an arm has it, else the one that the first arm has.
    """
    own = {design.name: sources_of(design) for design in designs}
    given = [source for sources in own.values() for source in sources]
    for design in designs:
        if data_dimensions(design.template) and (design.combines or design.derived_from):
            own[design.name] = sources_of(design, given)
    found = {source_name(source): source for sources in own.values() for source in sources}
    main = source_name(space.data)
    first = main if main in found else next(iter(found))
    return {first: found[first]} | found


def of_source(main: Kept, others: Mapping[str, Kept], source: DataSource) -> Kept:
    """Return what is kept of a data set: of the run's own, or of one of the others, by their names."""
    return others.get(source_name(source), main) if others else main
