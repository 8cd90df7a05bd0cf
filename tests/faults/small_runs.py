"""A search of a tiny space in this process, without Ray: what a search does with the files of a run, in a second."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from tune_lb.data.device import on_device
from tune_lb.results.ledger import Ledger
from tune_lb.results.merger import Merger
from tune_lb.results.run_files import write_space
from tune_lb.results.storage import Store
from tune_lb.search.job import MemberKey
from tune_lb.space.loading import load_space
from tune_lb.space.space import Space
from tune_lb.tuning.preparation import prepare
from tune_lb.tuning.replay import replayed, selected_ids
from tune_lb.tuning.request import Request
from tune_lb.tuning.run_description import run_description
from tune_lb.tuning.running_job import RunningJob

FILE = Path(__file__).with_name("tiny_space.py")
SPACE = load_space(str(FILE)).space
ASKED = {"space": str(FILE), "path": str(FILE), "overrides": [], "options": {}}


@dataclass(frozen=True)
class Searched:
    """What a search did: the members that it trained, the lines on what was damaged, and those on what was left out at the end."""

    trained: list[MemberKey]
    damaged: list[str]
    left_out: list[str]


def run_of(place: Path) -> Path:
    return place / "runs" / "tiny"


def search(
    place: Path,
    space: Space = SPACE,
    *,
    fresh: bool = False,
    checkpoint_every_s: float = 30.0,
    run: Path | None = None,
) -> Searched:
    """Train what is missing of the run in a folder, as `tune-lb search` does. run: of another name or place."""
    store = Store(run or run_of(place))
    request = Request(space=space, name=store.location.rpartition("/")[2], run=store, asked=ASKED, fresh=fresh)
    prepared = prepare(request)
    facts = prepared.facts
    context = dataclasses.replace(prepared.context, checkpoint_every_s=checkpoint_every_s)
    state = replayed(space, facts, Ledger(store.child("ledger")), prepared.stored.scored)
    trained: list[MemberKey] = []
    while (job := state.take()) is not None:
        work = RunningJob(job, lambda trial: on_device(context.data_of(trial), "cpu"), context)
        while not work.advance(0.0):
            pass
        state.observe(work.finish())
        trained += [member.key for member in job.members]
    assert state.finished
    merger = Merger(store, context.schema())
    merger.add_new()
    found = merger.write_all()
    write_space(store, run_description(request, prepared.designs, context, facts, selected_ids(state)))
    return Searched(trained, prepared.stored.damaged, list(found.problems))
