"""The data of a run, loaded before it starts: each set once, and what is to be said of arms that have their own."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tune_lb.data.dataset import DataSet, DataSource
from tune_lb.data.mapped import MappedArray
from tune_lb.data.splits import Splits
from tune_lb.data.standardization import pieces
from tune_lb.errors import RequestError
from tune_lb.models.stored_weights import StoredWeights
from tune_lb.prediction_errors import PredictionError, ZeroOne, error_for
from tune_lb.search.data_facts import DataFacts
from tune_lb.settings.identity import describe
from tune_lb.space.data_sets import all_sources, of_source, source_name, sources_of
from tune_lb.space.designs import ArmDesign
from tune_lb.space.space import Space
from tune_lb.training.trial import Trial
from tune_lb.trees import leaves, named_leaves


@dataclass(frozen=True)
class LoadedData:
    """The data of a run by split seed: the run's own, and those that arms have for themselves by the names of their sources."""

    source: DataSource
    main: Mapping[int, DataSet]
    others: Mapping[str, Mapping[int, DataSet]] = dataclasses.field(default_factory=dict)
    can_be_cut: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    """Whether another split seed gives other parts, by the names of the sources."""

    def of(self, trial: Trial) -> Mapping[int, DataSet]:
        """Return the data that a trial is trained on, by split seed."""
        return of_source(self.main, self.others, trial.data)

    def all(self) -> list[Mapping[int, DataSet]]:
        """Return every data set by split seed, the run's own first."""
        return [self.main, *self.others.values()]

    def facts(self) -> DataFacts:
        """Return what the search must know of them."""
        others = {name: _facts(sets[0], self.can_be_cut[name]) for name, sets in self.others.items()}
        main = _facts(self.main[0], self.can_be_cut[source_name(self.source)])
        return dataclasses.replace(main, others=others)


def load(space: Space, designs: Sequence[ArmDesign]) -> tuple[LoadedData | None, list[str]]:
    """Return the data of every arm, or None and the problems of those that cannot be loaded or cut as the space asks."""
    sources = all_sources(space, designs)
    found = {name: Splits(source) for name, source in sources.items()}
    problems: list[str] = []
    can_be_cut = {name: source.can_be_cut() for name, source in sources.items()}
    for name, source in sources.items():
        try:
            found[name][0]
        except RequestError as error:
            problems += error.problems
            continue
        if space.fresh_splits and not can_be_cut[name]:
            problems.append(
                f"space.fresh_splits = True: {describe(source)} has the same parts for every split seed, so it cannot be cut anew; "
                "leave fresh_splits out: blocks are then seeds"
            )
    if problems:
        return None, list(dict.fromkeys(problems))
    main = next(iter(sources))
    return LoadedData(sources[main], found.pop(main), found, can_be_cut), []


def needed_files(data: LoadedData | None, designs: Iterable[ArmDesign]) -> list[str]:
    """Return the files that do not travel to other machines, which must see them: mapped data, and weights that arms start from."""
    found = []
    for sets in data.all() if data is not None else []:
        first = next(iter(sets.values()))
        for part in (first.train, first.validation, first.test):
            found += [
                leaf.file for leaf in leaves(part.all_inputs) if isinstance(leaf, MappedArray) and leaf.file is not None
            ]
    for design in designs:
        start = design.template.initialization
        if isinstance(start, StoredWeights) and start.path:
            found.append(str(Path(start.path).expanduser()))
    return list(dict.fromkeys(found))


def with_other_test_part(data: LoadedData, designs: Iterable[ArmDesign]) -> list[str]:
    """Return the arms, some data of which have other test examples than the run's own."""
    if not data.others:
        return []
    split_seed = next(iter(data.main))
    own = _test_part(data.main[split_seed])
    different = {name for name, sets in data.others.items() if _test_part(sets[split_seed]) != own}
    return [d.name for d in designs if different & {source_name(source) for source in sources_of(d)}]


IMBALANCED = 0.5
"""Error of the largest class, as a share of that of guessing, below which the plan speaks of it."""


def error_notes(data: LoadedData, error: PredictionError | None) -> list[str]:
    """Say what is counted as an error, where it is not the usual one, and where the largest class alone makes it small."""
    first = next(iter(data.main.values()))
    found = error_for(error, first.train.targets)
    notes = [] if error is None and found.title == "error" else [f"errors are each the {found.title}"]
    if not found.is_share:
        notes[-1] += "; where a table or a report says % or points, these are hundredths of it"
    if isinstance(found, ZeroOne) and len(first.test.targets):
        share = float(np.bincount(first.test.targets, minlength=1).max()) / len(first.test.targets)
        if 1.0 - share < IMBALANCED * (1.0 - 1.0 / max(2, first.num_classes)):
            notes.append(
                f"{100 * share:.1f} % of the test part are of one class: naming it always has error {100 * (1 - share):.1f} %; "
                "error='balanced' counts every class alike"
            )
    return notes


def data_notes(data: LoadedData, designs: Sequence[ArmDesign]) -> list[str]:
    """Say what was done when data were loaded, and which arms are not compared on the same test examples as the others."""
    sets = {"": data.main, **{f"{name}: ": own for name, own in data.others.items()}}
    notes = [f"{name}{note}" for name, own in sets.items() for note in next(iter(own.values())).notes]
    names = with_other_test_part(data, designs)
    if not names:
        return notes
    what = f"arm{'s' * (len(names) > 1)} {', '.join(names)}"
    return [
        *notes,
        f"{what}: the test part is not that of the other arms' data, so a difference is also one of the test examples, and "
        "nothing is compared example by example",
    ]


def _facts(loaded: DataSet, can_be_cut: bool) -> DataFacts:
    return DataFacts(loaded.fingerprint(), len(loaded.validation.targets), loaded.num_classes, can_be_cut)


def _test_part(loaded: DataSet) -> str:
    """Return a hash of the test examples as a network sees them, up to their standardisation, and of their targets."""
    digest = hashlib.sha256()
    for name, array in {**named_leaves(loaded.test.inputs_in_pieces), "targets": loaded.test.targets}.items():
        digest.update(f"{name}{array.shape}{array.dtype}".encode())
        for piece in pieces(array):
            digest.update(np.ascontiguousarray(piece).data)
    return digest.hexdigest()
