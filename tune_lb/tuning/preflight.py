"""Preflight: every node of a cluster is looked at before anything is trained: versions, code, storage, data, modules, GPUs."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray
import ray.cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_lb.errors import RequestError
from tune_lb.results.storage import StorageError, Store
from tune_lb.tuning import node_report
from tune_lb.tuning.reach import lacking, missing_line
from tune_lb.tuning.request import Request

ANSWER_S = 90.0
"""Longest wait for what nodes are asked, in seconds; they are asked all at once."""


class ClusterNode(NamedTuple):
    """A node as Ray knows it. name: address and the begin of its id. gpus: that it promised."""

    id: str
    name: str
    gpus: float


class Asked(NamedTuple):
    """What a node must have beside its own versions. token: of this preflight's files in the storage; "": it is left alone."""

    run: Store
    token: str
    request: Request
    files: Sequence[str]


def cluster_nodes() -> list[ClusterNode]:
    """Return the nodes of the cluster that live."""
    return [
        ClusterNode(n["NodeID"], f"{n['NodeManagerAddress']} ({n['NodeID'][:8]})", float(n["Resources"].get("GPU", 0)))
        for n in ray.nodes()
        if n["Alive"]
    ]


def preflight(request: Request, files: Sequence[str], *, write: bool) -> None:
    """Look at every node. Raises RequestError with one line for each node on which members could not be trained.

    files: of data that are mapped, which every node must see. write: also let every node write into the storage and read what
    others wrote there. Cost: some seconds, all nodes at once; a node with GPUs imports torch in a process of its own.
    """
    nodes = cluster_nodes()
    on_gpus = request.gpus_per_trial != 0
    own = node_report.node_report(count_gpus=False)
    ray.cloudpickle.register_pickle_by_value(node_report)
    try:
        jobs = {node: (node_report.node_report, on_gpus and node.gpus > 0) for node in nodes}
        answers = _on_nodes(jobs)
    finally:
        ray.cloudpickle.unregister_pickle_by_value(node_report)
    problems = {node: _of_report(own, answer, node.gpus if on_gpus else 0.0) for node, answer in answers.items()}
    # what has other code could not even be asked the rest
    same = [node for node in nodes if not problems[node]]
    with _marked(request.run if write else None) as token:
        asked = Asked(request.run, token, request, files)
        looked = _on_nodes({node: (look, asked, str(index)) for index, node in enumerate(same)})
        problems |= {node: [answer] if isinstance(answer, str) else answer for node, answer in looked.items()}
        if token:
            for index, node in enumerate(same):
                if not problems[node] and not request.run.exists(f"{token}-{index}"):
                    problems[node] = [f"what it writes to {request.run.location} does not arrive there; {SHARED}"]
    failing = [f"node {node.name}: {'; '.join(found)}" for node, found in problems.items() if found]
    if failing:
        raise RequestError(failing)


SHARED = "give --storage a folder that all nodes share, or a URI (s3://bucket/runs)"


def look(asked: Asked, name: str) -> list[str]:
    """Return what is wrong on this node, which has the code of this one. name: ends that of the file that it writes."""
    found = []
    if asked.token:
        try:
            if not asked.run.exists(asked.token):
                found.append(f"it does not see {asked.run.location}; {SHARED}")
            else:
                asked.run.write(f"{asked.token}-{name}", b"")
        except StorageError as error:
            found.append(str(error))
    gone = [path for path in asked.files if not Path(path).is_file()]
    if gone:
        found.append(
            f"it does not see {gone[0]}, a file of the data: set TUNE_LB_CACHE to a folder that all nodes share"
        )
    found += [missing_line(name, "there") for name in lacking(list(asked.request.imports), dict(asked.request.sources))]
    return found


def differences(own: Mapping[str, str], other: Mapping[str, str], gpus: float) -> list[str]:
    """Return how what a node reports differs from what this process has. gpus: that the node promised."""
    found = [
        f"{name} {other.get(name) or 'is not there'}, {own[name]} here: install the same on every node"
        for name in ("Python", *node_report.PACKAGES)
        if own[name] != other.get(name, "")
    ]
    code = node_report.CODE
    if not other.get(code):
        found.append(f"{code} is not importable there: install it (pip install), or start Ray there with PYTHONPATH")
    elif own[code] != other[code]:
        found.append(
            f"its code of {code} in {other['folder']} ({other[code]}) is not that of {own['folder']} ({own[code]}) here: "
            "install the same on every node"
        )
    if "GPUs" in other and float(other["GPUs"]) < gpus:
        found.append(
            f"Ray was promised {gpus:g} GPUs and torch can use {other['GPUs']}: a build of torch with CUDA, a driver, or another "
            "--num-gpus in ray start"
        )
    return found


def _of_report(own: Mapping[str, str], answer: Any, gpus: float) -> list[str]:
    return [answer] if isinstance(answer, str) else differences(own, answer, gpus)


def _on_nodes(jobs: Mapping[ClusterNode, tuple[Any, ...]]) -> dict[ClusterNode, Any]:
    """Return what functions give on their nodes, all asked at once; a text that says what is wrong where there is no answer."""
    tasks = {}
    for node, (function, *arguments) in jobs.items():
        place = NodeAffinitySchedulingStrategy(node.id, soft=False)
        remote = ray.remote(num_cpus=0, max_retries=1)(function)
        tasks[node] = remote.options(scheduling_strategy=place).remote(*arguments)
    ray.wait(list(tasks.values()), num_returns=len(tasks), timeout=ANSWER_S) if tasks else None
    return {node: _answer(task) for node, task in tasks.items()}


def _answer(task: Any) -> Any:
    try:
        return ray.get(task, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return (
            f"no answer within {ANSWER_S:.0f} s: `ray status` says what it does; take it out of the cluster, or mend it"
        )
    except ray.exceptions.RayError as error:
        return f"cannot work: {str(error).strip().splitlines()[-1]}"


@contextlib.contextmanager
def _marked(run: Store | None) -> Iterator[str]:
    """Write a file of no other name into the storage for the time of the block; remove it, and those that begin with its name."""
    if run is None:
        yield ""
        return
    above, token = run.missing_folders(), f"preflight-{secrets.token_hex(6)}"
    run.write(token, b"")
    try:
        yield token
    finally:
        for name in run.list(token):
            run.delete(name)
        run.delete_if_empty(above)
