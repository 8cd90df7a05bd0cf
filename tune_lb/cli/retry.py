"""retry: train again the members of a run that failed, and no others, by the command that the run was begun with."""

from __future__ import annotations

import argparse

from tune_lb.cli import search
from tune_lb.cli.arguments import parse
from tune_lb.cli.asked import search_command, search_words
from tune_lb.cli.output import Output
from tune_lb.cli.runs import asked_here, check_run_name, find_run, space_of_run
from tune_lb.errors import RequestError
from tune_lb.results.failures import failed_members
from tune_lb.results.run_files import read_space
from tune_lb.tuning.replay import of_old_design

DONE = 0


def run(given: argparse.Namespace, out: Output) -> int:
    """Say what failed, and search on with these members alone."""
    check_run_name(given.name)
    store = find_run(given.name, given.storage)
    known = read_space(store)
    if of_old_design(known):
        raise RequestError(
            f"run {given.name!r} was made by search, rescreen and confirm, which are no more: begin a new run under another --name"
        )
    # a space that has changed is refused with what differs
    space_of_run(known)
    asked = asked_here(known, given.name, given.storage)
    failed = failed_members(store, known)
    if not failed:
        out.line(f"no member of {store.location} failed")
        out.close({"run": given.name, "failed": 0}, search_command(asked))
        return DONE
    reasons = list(failed.values())
    for reason in dict.fromkeys(reasons):
        out.line(f"failed before ({reasons.count(reason):,}): {reason}")
    words = [*search_words(asked), *(["--json"] if given.json else [])]
    return search.run(parse(words), out, only=frozenset(failed))
