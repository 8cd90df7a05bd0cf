"""search: run a search, or go on with it, and show the answer."""

from __future__ import annotations

import _thread
import argparse
import contextlib
import functools
import os
import sys
from typing import TYPE_CHECKING, Any

from tune_lb.cli.answer import Answer, analyse, recommended, show_answer, show_unwritten
from tune_lb.cli.asked import FIELD_OPTIONS, asked_of, asked_space, search_command
from tune_lb.cli.log_to import logged, opened
from tune_lb.cli.output import Output, on_run
from tune_lb.cli.plan import costs, show_costs, show_plan
from tune_lb.cli.precision import known_spread, precision_of, precision_text
from tune_lb.cli.progress import Progress, Steps
from tune_lb.cli.runs import asked_here, check_run_name
from tune_lb.cli.time_budget import within_time
from tune_lb.errors import RequestError
from tune_lb.lazy import collector_paused
from tune_lb.results.lock import FILE as LOCK
from tune_lb.results.lock import held
from tune_lb.results.run_files import read_space
from tune_lb.results.storage import StorageError, Store
from tune_lb.results.waiting import storage_waited_for
from tune_lb.search.job import MemberKey
from tune_lb.space.smoke import smoke
from tune_lb.space.space import Space
from tune_lb.tuning.request import Request, cpus_here
from tune_lb.tuning.signals import interrupted, sigterm_interrupts
from tune_lb.tuning.time_budget import seconds_of

if TYPE_CHECKING:
    from tune_lb.tuning.ray_ahead import RayAhead

DONE, FAILED, PARTIAL, INTERRUPTED = 0, 1, 3, 130

ANALYSED_AGAIN = 3
"""How often the answer is tried again where the run lies in an object store, each time when that answers."""


def run(given: argparse.Namespace, out: Output, only: frozenset[MemberKey] | None = None) -> int:
    """Check everything, show the plan, train what is missing, and show the answer. only: no other members than these."""
    loaded, space = asked_space(
        given.space, given.overrides, {key: getattr(given, key) for key in FIELD_OPTIONS}, given.scale
    )
    name = given.name or loaded.name
    if given.scale is not None and loaded.scale is None:
        out.line(
            f"{loaded.name} is no experiment of a paper: it has one size, and --scale {given.scale} changes nothing"
        )
    if given.smoke:
        # it is tried again from the start each time
        space, name, given.fresh = smoke(space), f"{name}_smoke", True
    check_run_name(name)
    asked = asked_of(given, loaded)
    store = Store(given.storage).child(name)
    taken: list[str] = []

    def end(reason: str) -> None:
        taken.extend([reason] if reason else [])
        # as Ctrl-C would
        _thread.interrupt_main()

    try:
        with sigterm_interrupts(), contextlib.nullcontext() if given.dry_run else held(store, end):
            own = {"modules": loaded.modules, "sources": loaded.sources, "imports": loaded.imports, "only": only}
            code = _run(given, out, space, store, {"name": name, "asked": asked, **own})
        for reason in taken:
            out.line(f"given up: {reason}", style="red")
        return FAILED if taken else code
    except KeyboardInterrupt:
        return _interrupted(
            out, {"run": name, "location": store.location, "status": "interrupted"}, search_command(asked)
        )


def _run(given: argparse.Namespace, out: Output, space: Space, store: Store, identity: dict[str, Any]) -> int:
    out.paragraph(space.question, style="bold")
    # Ray is imported where it is needed
    with collector_paused():
        from tune_lb.tuning import tuner
        from tune_lb.tuning.ray_ahead import RayAhead

    again = search_command(identity["asked"])
    resources = {key: getattr(given, key) for key in ("cpus_per_trial", "gpus_per_trial", "max_concurrent")}
    request = Request(
        space=space,
        run=store,
        address=given.address,
        silence_s=None if given.silence_limit is None else seconds_of(given.silence_limit, "--silence-limit"),
        fresh=given.fresh,
        accept_code_change=given.accept_code_change,
        **identity,
        **resources,
    )
    if given.time_budget is not None:
        with Steps(out) as say:
            request = within_time(request, given.time_budget, functools.partial(tuner.prepare, say=say), out)
        again = search_command(request.asked)
    if given.dry_run:
        return _planned(given, out, request, again)
    with RayAhead(request.address, functools.partial(cpus_here, request)) as ahead:
        return _searched(given, out, request, again, ahead)


def _planned(given: argparse.Namespace, out: Output, request: Request, again: str) -> int:
    """Show what a search would be and cost, and what its intervals would be."""
    from tune_lb.tuning import tuner

    space, name = request.space, request.name
    known = known_spread(given.space, name, given.storage, given.spread_from)
    with Steps(out) as say:
        prepared = tuner.prepare(request, write=False, say=say)
    show_plan(out, space, prepared.estimate, on_cluster=given.address is not None)
    show_costs(out, space, prepared.estimate)
    out.line(precision_text(space, known))
    out.line("dry run: nothing was trained and nothing was written")
    plan = costs(space, prepared.estimate) | {"precision": precision_of(space, known)}
    out.close({"run": name, "plan": plan}, again)
    return DONE


def _searched(given: argparse.Namespace, out: Output, request: Request, again: str, ahead: RayAhead) -> int:
    """Train what is missing, and show the answer."""
    from tune_lb.tuning import tuner

    store, name = request.run, request.name
    with Steps(out) as say:
        prepared = tuner.prepare(request, say=say, ahead=ahead)
    writers = opened(given.log_to or (), store, name)
    show_plan(out, request.space, prepared.estimate, on_cluster=given.address is not None)
    result: Answer = {"run": name, "location": store.location}

    def lost() -> None:
        """End this process: what Ray left of itself would hold it up for a minute."""
        progress.stop()
        code = (
            _interrupted(out, result | {"status": "interrupted"}, again) if interrupted() else _lost(out, result, again)
        )
        with contextlib.suppress(RequestError):
            store.delete(LOCK)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def say_aside(line: str) -> None:
        out.line(line, style="yellow")

    try:
        with logged(writers, prepared, out, name, given.storage), Progress(out) as progress:
            ending = tuner.search(prepared, ahead, progress, lost, say_aside)
    except StorageError as error:
        return _failing(out, result, error, again)
    result |= {"status": ending.status, "members": ending.members}
    result |= {"failed": ending.failed, "failures": ending.failures, "left_out": ending.left_out}
    if ending.cut:
        # what is asked for from now on has the numbers that are left
        again = search_command(asked_here(read_space(store), name, given.storage))
    result |= {"cut": list(ending.cut)} if ending.cut else {}
    result |= {"unmeasured": ending.unmeasured, "damaged": ending.damaged, "missing": ending.missing}
    try:
        with storage_waited_for(say_aside):
            return conclude(out, result, name, given.storage, again)
    except RequestError as error:
        # everything is trained: what goes wrong now is no wrong request
        return _failing(out, result, error, again)


def _failing(out: Output, result: Answer, error: RequestError, again: str) -> int:
    """Say that the storage failed while the search ran, or the report could not be made; exit code of what can be gone on with."""
    for problem in error.problems:
        out.line(f"stopped: {problem}", style="bold red")
    out.line(
        f"what was stored before stays in {result['location']}; when the cause is mended the same command goes on from there"
    )
    out.close({"members": None} | result | {"status": "stopped"}, again)
    return FAILED


def _lost(out: Output, result: Answer, again: str) -> int:
    out.line(
        "stopped: Ray is gone (its head process or raylet was killed, or their machine was lost), and with it every worker",
        style="bold red",
    )
    out.line(f"what was stored stays in {result['location']}; the same command goes on from there")
    out.close(result | {"status": "stopped"}, again)
    return FAILED


def _analysed(name: str, storage: str) -> Answer:
    """Analyse a run. That is a process of its own, which does not wait for an object store that is away: this one does."""
    store = Store(storage).child(name)
    for _ in range(0 if store.is_local else ANALYSED_AGAIN):
        try:
            return analyse(name, storage)
        except RequestError:
            store.exists("space.json")
    return analyse(name, storage)


def conclude(out: Output, result: Answer, name: str, storage: str, again: str) -> int:
    """Show how a search ended, with the answer where there is one, and return the exit code. again: the same command."""
    if result["status"] == "interrupted":
        return _interrupted(out, result, again)
    if result["status"] == "stopped":
        _show_problems(out, result)
        out.line(
            f"stopped: worker after worker died without a result, so no more were started; {result['members']:,} "
            f"members are stored in {result['location']}. When the cause is mended the same command goes on",
            style="bold red",
        )
        out.close(result, again)
        return FAILED
    if result.get("missing"):
        _show_problems(out, result)
        out.line(
            f"tried again: {result['failed']:,} failed; {result['missing']:,} other members of the search are missing"
        )
        out.close(result, again)
        return PARTIAL if result["failed"] else DONE
    answer = _analysed(name, storage)
    show_answer(out, answer)
    _show_problems(out, result)
    for metric, number in result.get("unmeasured", {}).items():
        command = on_run("measure", name, storage, "--metric", metric)
        out.line(
            f"{number:,} member(s) lack {metric}, over which an earlier call was stopped: {command}", style="yellow"
        )
    where = result["location"]
    unwritten = show_unwritten(out, answer)
    out.line(f"results: {where}/results (pandas.read_parquet); report: {where}/report/report.html")
    if result["status"] == "partial":
        retry = on_run("retry", name, storage)
        out.line(f"{result['failed']:,} member(s) failed; the same command trains them again (they alone: {retry})")
        out.close(result | answer, again)
        return PARTIAL
    out.close(result | answer, recommended(answer, name, storage))
    return FAILED if unwritten else DONE


def _show_problems(out: Output, result: Answer) -> None:
    for line in result.get("cut", []):
        out.line(line, style="yellow")
    for word, lines in (
        ("failed", result["failures"]),
        ("left out", result["left_out"]),
        ("damaged", result.get("damaged", [])),
    ):
        for line in lines:
            out.line(f"{word}: {line}", style="red")


def _interrupted(out: Output, result: Answer, again: str) -> int:
    members = f"{result['members']:,} members are" if "members" in result else "what was trained is"
    out.line(f"interrupted: {members} stored in {result['location']}; the same command goes on from there")
    out.close(result, again)
    return INTERRUPTED
