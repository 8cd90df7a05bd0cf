"""Preparation: everything about a search that can be checked, decided and costed before a worker starts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tune_lb.data.device import on_device
from tune_lb.data.targets import target_kind
from tune_lb.errors import RequestError, user_code
from tune_lb.results.code_versions import salts
from tune_lb.results.leftovers import delete_left_over
from tune_lb.results.locations import holds_credentials
from tune_lb.results.lock import FILE as LOCK
from tune_lb.results.run_files import read_space, write_space, write_targets
from tune_lb.results.storage import Store
from tune_lb.results.tables import encode_predictions
from tune_lb.search.blocks import blocks
from tune_lb.search.data_facts import DataFacts, fresh_splits
from tune_lb.search.expected import expected_members
from tune_lb.space.changes import refuse_changed
from tune_lb.space.checks import checked_designs
from tune_lb.space.data_sets import of_source, sources_of
from tune_lb.space.description import description
from tune_lb.space.designs import ArmDesign, sampling_notes
from tune_lb.space.own_code import code_of_arms
from tune_lb.space.space import Space
from tune_lb.training.device_memory import DeviceMemory
from tune_lb.tuning.arm_checks import arm_problems
from tune_lb.tuning.code_changes import code_versions
from tune_lb.tuning.cost_estimate import Estimate, case_notes, dearest, estimate, num_members, trials_of_cases
from tune_lb.tuning.data_loading import LoadedData, data_notes, error_notes, load, needed_files
from tune_lb.tuning.execution_choice import choose_execution
from tune_lb.tuning.gpu_share import gpu_share
from tune_lb.tuning.memory_need import memory_problems
from tune_lb.tuning.mending import executions, mended, refuse_other_space
from tune_lb.tuning.network_findings import finding_notes, network_findings
from tune_lb.tuning.replay import of_old_design
from tune_lb.tuning.request import AUTO, RAY_START_S, Request, resource_problems, workers
from tune_lb.tuning.resources import Node, available_bytes, this_machine
from tune_lb.tuning.resume import Stored, stored_members
from tune_lb.tuning.run_context import RunContext, make_context
from tune_lb.tuning.run_description import extensions, run_description
from tune_lb.tuning.timing_clock import TimingClock

Nodes = Callable[[Sequence[str]], Sequence[Node]]

FEWEST_BLOCKS = 2
"""Confirm blocks that an interval takes."""


@dataclass(frozen=True)
class Prepared:
    """A search that can start."""

    request: Request
    designs: list[ArmDesign]
    context: RunContext
    facts: DataFacts
    estimate: Estimate
    stored: Stored
    extended: list[dict[str, Any]]
    """What earlier calls of the run had asked for; see run_description."""


def prepare(
    request: Request,
    *,
    write: bool = True,
    nodes: Nodes | None = None,
    say: Callable[[str], None] = lambda text: None,
    ready: Callable[[], None] = lambda: None,
) -> Prepared:
    """Check the request whole and decide what is left open. Raises RequestError with every problem found.

    write: without it nothing is changed in the storage. nodes: asks for the machines that will do the work, given the
    files that they must see; None: this one. say: told what is being done, for it may take a while. ready: called where a run
    begins, when the request is found right, before what takes long.
    """
    space = request.space
    designs = checked_designs(space)
    refuse_credentials(request)
    # before anything of it runs, which may change its globals
    codes = code_of_arms(designs)
    say("loading the data")
    data, problems = load(space, designs)
    if data is not None:
        problems += arm_problems(designs, data, space.microbatch, space.stopping) + _selection_problems(designs, data)
    resources, own = None, resource_problems(request)
    try:
        # a wrong number is one mistake, not two
        if not own:
            machines = list(this_machine() if nodes is None else nodes(needed_files(data, designs)))
            resources = workers(request, machines)
    except RequestError as error:
        own = error.problems
    problems += own
    if problems or resources is None or data is None:
        raise RequestError(dict.fromkeys(problems))
    started_s = request.run.check_writable()
    damaged = mended(request.run) if write and not request.fresh else []
    known = None if request.fresh else _known(request)
    if known is not None:
        if of_old_design(known):
            raise RequestError(
                f"run {request.name!r} was made by search, rescreen and confirm, which are no more: report, best, measure and "
                "landscape go on working on it; begin a new run under another --name"
            )
        refuse_changed(request.name, known["resolved"], description(space))
    versions, code_notes = code_versions(request.name, codes, known, accepted=request.accept_code_change)
    facts = dataclasses.replace(data.facts(), salts=salts(versions))
    on_gpu = torch.cuda.is_available() and request.gpus_per_trial != 0
    cases = trials_of_cases(space, designs)
    trials = dearest(cases)
    firsts = {arm: next(iter(data.of(trial).values())) for arm, trial in trials.items()}
    on_devices = {id(first): on_device(first, "cuda" if on_gpu else "cpu") for first in firsts.values()}
    parts = {arm: on_devices[id(first)] for arm, first in firsts.items()}
    num_train = {arm: len(first.train.targets) for arm, first in firsts.items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(request.cpus_per_trial or 1)))
    try:
        say("checking the networks")
        findings = network_findings(trials, parts, cases)
        # other machines have other memory
        memory = available_bytes() if request.address is None else None
        too_large = memory_problems(
            designs, trials, parts, available=memory, processes=resources.concurrency, microbatch=space.microbatch
        )
        # a dry run trains nothing: what it would cost is known all the same
        if too_large and write:
            raise RequestError(too_large)
        if known is None:
            ready()
        execution = choose_execution(
            space,
            designs,
            trials,
            parts,
            members=_stacked(space, designs),
            most={d.name: max(expected_members(space, d).values()) for d in designs},
            updates={
                d.name: num_members(space, d) * trials[d.name].plan(num_train[d.name]).num_updates for d in designs
            },
            processes=resources.concurrency,
            findings=findings,
            known=known["execution"] if known is not None else None if request.fresh else executions(request.run),
            compiles=write,
            clock=TimingClock(say),
        )
        if request.gpus_per_trial == AUTO:
            device = DeviceMemory(torch.device("cuda"))
            share, note = gpu_share(trials, parts, execution, _stacked(space, designs), space.microbatch, device)
            request = dataclasses.replace(request, gpus_per_trial=share)
            resources = workers(request, machines)
            execution.notes.append(note)
        context = make_context(request.name, request.run, space, designs, data.main, execution.ways, data.others)
        context = dataclasses.replace(context, code=versions, stacked=execution.stacked)
        if known is None and not request.fresh:
            refuse_other_space(request.run, context.space_hash)
        stored = Stored({}, [], []) if request.fresh else stored_members(request.run, context, damaged)
        with user_code("a short training, evaluated as members will be", made_by=space.model):
            cost = estimate(
                space,
                designs,
                parts,
                execution.seconds,
                concurrency=resources.concurrency,
                start_s=RAY_START_S,
                already_done=len(stored.scored),
                say=say,
                notes=[
                    *(f"too large for this machine, where the search is refused: {problem}" for problem in too_large),
                    *finding_notes(findings),
                    *execution.notes,
                    *error_notes(data, space.error),
                    *data_notes(data, designs),
                    *sampling_notes(designs),
                    *case_notes(cases),
                    *_block_notes(space, facts),
                    *code_notes,
                ],
            )
    finally:
        torch.set_num_threads(threads)
    extended = extensions(known, space)
    prepared = Prepared(request, designs, context, facts, cost, stored, extended)
    if write:
        # only now: a request that is refused above loses nothing
        if request.fresh:
            request.run.delete_contents(keep=(LOCK,))
        else:
            delete_left_over(request.run, started_s)
        write_space(request.run, run_description(request, designs, context, facts, _selected(known), extended))
        write_run_targets(request.run, prepared)
    return prepared


def refuse_credentials(request: Request) -> None:
    """Raise RequestError where the space, or what was asked, has a URI with a password or key in it: space.json would hold it."""
    texts = {**description(request.space), "question": request.space.question, "--address": request.address or ""}
    texts |= {f"as asked, {key}": json.dumps(value) for key, value in request.asked.items()}
    found = [name for name, text in texts.items() if holds_credentials(text)]
    if found:
        raise RequestError(
            f"{found[0]}: a URI with a password or key in it would be stored and printed with the run: read it from the "
            "environment where it is used (os.environ in your own code), and leave it out here"
        )


def _selected(known: dict[str, Any] | None) -> dict[str, str]:
    return dict(known.get("selected", {})) if known is not None else {}


def write_run_targets(run: Store, prepared: Prepared) -> None:
    """Store the true classes of the test part of every split that arms are confirmed in, and which examples they are."""
    space, context = prepared.request.space, prepared.context
    fresh = fresh_splits(space.fresh_splits, prepared.facts)
    used = sorted({block.split_seed for block in blocks("confirm", space.most_blocks, fresh_splits=fresh)})
    for name, sets in [(None, context.data), *context.other_data.items()]:
        if target_kind(sets[0].test.targets) == "classes":
            coded, examples = {}, {}
            for seed in used:
                coded[seed] = encode_predictions(sets[seed].test.targets, sets[seed].num_classes)
                examples[seed] = sets[seed].test.examples
            write_targets(run, coded, name, examples=examples)


def _stacked(space: Space, designs: Sequence[ArmDesign]) -> int:
    """Return how many members are trained together where most of the time goes: those of a confirm block, or one."""
    expected = [expected_members(space, design) for design in designs]
    alone = sum(own["search"] + own["decide"] for own in expected)
    return space.block_seeds if sum(own["confirm"] for own in expected) > alone else 1


def _block_notes(space: Space, facts: DataFacts) -> list[str]:
    """Say what blocks are where the data are not cut anew, and where there are too few of them for an interval."""
    notes = []
    if not fresh_splits(space.fresh_splits, facts):
        why = "as asked" if space.fresh_splits is False else "the data cannot be cut anew"
        notes.append(f"every block has split 0 ({why}): blocks are seeds, and nothing is said of other splits")
    if space.most_blocks < FEWEST_BLOCKS:
        notes.append(
            f"confirm_blocks = {space.confirm_blocks}: an interval of a difference takes at least {FEWEST_BLOCKS} "
            "blocks, a narrow one 12 or more"
        )
    return notes


def _selection_problems(designs: Iterable[ArmDesign], data: LoadedData) -> list[str]:
    """Say where something is searched, and the data hold no examples by which it could be selected."""
    searched: dict[str, list[str]] = {}
    for design in designs:
        if design.dimensions and design.num_samples > 1:
            for source in sources_of(design):
                own = next(iter(of_source(data.main, data.others, source).values()))
                if not len(own.validation.targets):
                    searched.setdefault(own.name, []).append(repr(design.name))
    return [
        f"{name}: the validation part is empty, so nothing can be selected in what is searched ({', '.join(arms)}): "
        "give the data num_validation, or every field one value"
        for name, arms in searched.items()
    ]


def _known(request: Request) -> dict[str, Any] | None:
    return read_space(request.run) if request.run.exists("space.json") else None
