"""Runs from their folders: one, or several as one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePosixPath

from analysis.asked import is_of_blocks
from analysis.frames import Frames, read_frames
from analysis.old_design.results import OldResults
from analysis.pooled import pool
from analysis.results import Results
from tune_lb.errors import RequestError
from tune_lb.results.storage import Store

Place = str | os.PathLike[str]


def load(run: Place | Sequence[Place], storage: Place = "runs") -> Results | OldResults:
    """Read a run: a folder with a space.json (path or URI), or the name of a run in storage; of several, all as one (`pool`).

    Raises RequestError where there is no such run, and for runs that cannot be compared. Reads members and history; predictions
    when a table needs them.
    """
    if isinstance(run, str | os.PathLike):
        return results_of(read_frames(run_store(run, storage)))
    stores = [run_store(one, storage) for one in run]
    if not stores:
        raise RequestError("give the name of a run, or of several")
    twice = [store.location for k, store in enumerate(stores) if store.location in [s.location for s in stores[:k]]]
    if twice:
        raise RequestError(f"run {twice[0]} is given twice: give each run once")
    found = [results_of(read_frames(store)) for store in stores]
    if len(found) == 1:
        return found[0]
    names = short_names([one.asked.name for one in found], [store.location for store in stores])
    return pool(dict(zip(names, found, strict=True)))


def results_of(frames: Frames) -> Results | OldResults:
    """The results of a run by the rules of its design: space.json says `"procedure": "blocks"`, or it is an old one."""
    return Results(frames) if is_of_blocks(frames.space) else OldResults(frames)


def run_store(run: Place, storage: Place = "runs") -> Store:
    """The folder of a run: a folder with a space.json (path or URI), else the one of that name in storage."""
    text = os.fspath(run)
    here = Store(text)
    return here if here.exists("space.json") else Store(os.fspath(storage)).child(text)


def short_names(names: Sequence[str], locations: Sequence[str]) -> list[str]:
    """The names of runs; of those that are called alike as much of the end of their place as tells them apart."""
    parts = [PurePosixPath(location).parts for location in locations]
    found = list(names)
    for depth in range(1, max(map(len, parts)) + 1):
        if len(set(found)) == len(found):
            break
        found = [
            "/".join(part[-depth:]) if names.count(name) > 1 else name for name, part in zip(names, parts, strict=True)
        ]
    return found
