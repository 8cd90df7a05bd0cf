"""The kinds of figures by name: what each shows, whether a run has data for it, and which a report draws unasked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from analysis import drawing, figure_kinds, figures
from analysis.canvas import STYLE, Inks
from analysis.old_design.results import OldResults
from analysis.plots import (
    batch_size,
    configurations,
    history,
    pareto,
    paths,
    target,
    trajectory,
    tuning,
    walk,
    with_without,
)
from analysis.plots.choice import EVERYTHING, Choice, Missing
from analysis.results import Results
from analysis.run import Run
from analysis.sections import CAPTIONS
from tune_lb.errors import RequestError, nearest

Table = Any
MIN_SIZES = 3


class Kind(NamedTuple):
    """A kind of figure: table makes what is shown (or raises Missing), draw the figure of it.

    wanted: whether a report draws it for a run that has the data. takes: the options that it heeds, for --list-figures.
    """

    name: str
    table: Callable[[Run, Choice], Table]
    draw: Callable[[Table, Inks], Figure]
    wanted: Callable[[Run], bool] = lambda run: False
    takes: str = ""

    @property
    def shows(self) -> str:
        """One line on what it shows."""
        return CAPTIONS[self.name]


def _plain(draw: Callable[[Any], Figure]) -> Callable[[Table, Inks], Figure]:
    return lambda info, inks: draw(info)


def _own(name: str, needs: str) -> Callable[[Run, Choice], Table]:
    """A figure of every report, which chooses what it shows itself."""

    def table(run: Run, choice: Choice) -> Table:
        found = figures.FIGURES[name](run) if isinstance(run, Results) else None
        if found is None:
            raise Missing(f"figure {name}: run {run.asked.name} has none: {needs}")
        return found

    return table


def _scatter(name: str, other: str) -> Callable[[Run, Choice], Table]:
    def table(run: Run, choice: Choice) -> Table:
        value = (choice.y or ("lambda_max",))[0]
        if choice.y and value not in run.confirmed:
            known = run.sharpness_values
            raise RequestError(f"figure {name}: there is no column {value!r}{nearest(value, known)}")
        found = figure_kinds.scatter(run, value, other)
        if found is None:
            raise Missing(
                f'figure {name}: no confirmed member of run {run.asked.name} has {value}: write Space(metrics=("{value}",))'
            )
        return found

    return table


def _distance(run: Run, choice: Choice) -> Table:
    if not choice.y and not (run.history["name"] == "walk.distance").any():
        raise Missing(
            f"figure distance: run {run.asked.name} has no walk.distance: write Space(walk=Walk(epochs=())), at next to no cost"
        )
    return history.history(run, choice._replace(y=choice.y or ("walk.distance",)))


def _has_sizes(run: Run) -> bool:
    """Whether arms of a report span three batch sizes or more."""
    return bool(run.confirmed["batch_size"].nunique() >= MIN_SIZES)


def _crosses(run: Run) -> bool:
    return any({"batch_size"} < set(arm.dimensions or {}) for arm in run.asked.arms)


def _searches(run: Run) -> bool:
    return isinstance(run, Results) and run.asked.exchangeable and any(arm.dimensions for arm in run.asked.arms)


def _several_arms(run: Run) -> bool:
    return isinstance(run, Results) and bool((run.arms["n"] > 0).sum() > 3)


def _always(run: Run) -> bool:
    return True


def _several_sizes_and_remedies(run: Run) -> bool:
    sized = {arm.batch_size for arm in run.asked.arms if arm.remedies}
    return len(sized) > 1


def _watched(name: str) -> Callable[[Run], bool]:
    return lambda run: bool((run.history["name"] == name).any())


def _sharpness_watched(run: Run) -> bool:
    names = run.history["name"].unique()
    return any(str(name).endswith(("lambda_max", "spectral_norm")) or name in run.sharpness_values for name in names)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            batch_size.NAME,
            batch_size.against_batch,
            _plain(batch_size.draw_against_batch),
            _has_sizes,
            "--y A [B] --arms",
        ),
        Kind(
            target.NAME,
            target.time_to_target,
            _plain(target.draw_time_to_target),
            _has_sizes,
            "--target",
        ),
        Kind(
            with_without.NAME,
            with_without.with_without,
            _plain(with_without.draw_with_without),
            _several_sizes_and_remedies,
            "--y --arms",
        ),
        Kind(
            configurations.HEAT_MAP,
            configurations.heat_map,
            _plain(configurations.draw_heat_map),
            _crosses,
            "--y --arms",
        ),
        Kind(configurations.DIMENSION, configurations.tried, configurations.draw_tried, takes="--x --y --arms"),
        Kind(
            history.TRAIN_AND_TEST,
            history.train_and_test,
            history.draw_train_and_test,
            _watched("test_error"),
            "--y ... --arms",
        ),
        Kind(
            history.CURVES,
            history.history,
            history.draw_history,
            _sharpness_watched,
            "--y A [B] --x epoch|step|wall_s --arms",
        ),
        Kind(trajectory.NAME, trajectory.trajectory, trajectory.draw_trajectory, _sharpness_watched, "--y --x --arms"),
        Kind(walk.WALK, walk.walk, _plain(walk.draw_walk), _watched("walk.loss_1"), "--arms"),
        Kind(walk.COSINE, walk.cosines, _plain(walk.draw_cosines), _watched("walk.cosine"), "--arms"),
        Kind("distance", _distance, history.draw_history, _watched("walk.distance"), "--x epoch|step --arms"),
        Kind(paths.NAME, paths.paths, _plain(paths.draw_paths), _always, "--y ... --x linear|curved --arms --also RUN"),
        Kind(tuning.NAME, tuning.tuning_curves, tuning.draw_tuning, _searches, "--arms"),
        Kind(tuning.IMPORTANCE, tuning.importance, tuning.draw_importance, takes="--arms"),
        Kind(pareto.NAME, pareto.front, pareto.draw_front, _several_arms, "--y A B [C] --arms"),
        Kind("test_error", _own("test_error", "it needs confirmed members of a run of blocks"), drawing.draw),
        Kind("history", _own("history", "nothing was recorded over training"), drawing.draw),
        Kind("search", _own("search", "it needs a search whose points are exchangeable"), drawing.draw),
        Kind("sharpness_and_gap", _scatter("sharpness_and_gap", "generalization_gap"), drawing.draw, takes="--y"),
        Kind("sharpness_and_loss", _scatter("sharpness_and_loss", "train_loss"), drawing.draw, takes="--y"),
    )
}


def kind_of(name: str) -> Kind:
    """The kind of that name. Raises RequestError that names the nearest."""
    if name not in KINDS:
        raise RequestError(f"there is no figure {name!r}{nearest(name, KINDS)} (--list-figures says what each needs)")
    return KINDS[name]


def figure(run: Run, name: str, choice: Choice = EVERYTHING) -> Figure:
    """The figure of that kind. Raises Missing where the run has no data for it, RequestError for unknown names."""
    kind = kind_of(name)
    with mpl.rc_context(STYLE):
        return kind.draw(kind.table(run, choice), Inks(run.arms))


def report_figures(run: Results | OldResults) -> dict[str, Figure]:
    """The figures that the shape of a run's space calls for: name -> figure."""
    found: dict[str, Figure] = {}
    if not len(run.confirmed):
        return found
    for kind in KINDS.values():
        if kind.wanted(run):
            try:
                found[kind.name] = figure(run, kind.name)
            except Missing:
                continue
    return found


def availability(run: Run) -> dict[str, str]:
    """Of each kind why a run has none of it, "" where it has."""
    found: dict[str, str] = {}
    for kind in KINDS.values():
        try:
            kind.table(run, EVERYTHING)
            found[kind.name] = ""
        except RequestError as error:
            found[kind.name] = str(error).partition(": ")[2]
    return found
