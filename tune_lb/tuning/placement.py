"""Where workers are: what each asks Ray for, which nodes it may not be on, and on which node it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.util.placement_group import NODE_ID_LABEL_KEY

from tune_lb.tuning.head_watch import answers
from tune_lb.tuning.job_trainable import SHARE, JobTrainable
from tune_lb.tuning.node_report import CODE, node_report
from tune_lb.tuning.planned_searcher import NOT_ON
from tune_lb.tuning.quiet_ray import tune
from tune_lb.tuning.request import Request
from tune_lb.tuning.resources import Resources
from tune_lb.tuning.run_context import RunContext


def worker_bundle(
    resources: Resources, not_on: Sequence[str] = (), share: float | None = None
) -> tune.PlacementGroupFactory:
    """Return what a worker asks Ray for. not_on: ids of nodes that it may not be on. share: of a GPU, where another."""
    gpus = resources.gpus if share is None else share
    bundle = {"CPU": resources.cpus} | ({"GPU": gpus} if gpus else {})
    if not not_on:
        return tune.PlacementGroupFactory([bundle])
    return tune.PlacementGroupFactory([bundle], bundle_label_selector=[{NODE_ID_LABEL_KEY: f"!in({','.join(not_on)})"}])


def worker_of(request: Request, context: RunContext, resources: Resources) -> Any:
    """Return what Tune makes workers of, given what all of them know and what each has."""
    known = tune.with_parameters(
        JobTrainable,
        context=context,
        sources=dict(request.sources),
        threads=max(1, int(resources.cpus)),
        device="cuda" if resources.gpus else "cpu",
        share=resources.share,
        code="" if request.address is None else node_report(count_gpus=False)[CODE],
    )
    return tune.with_resources(known, lambda asked: worker_bundle(resources, asked.get(NOT_ON, ()), asked.get(SHARE)))


def node_of_worker(worker: str, head: str) -> str:
    """Return the id of the node that a worker is or was on, from Ray's id of it; "" where Ray does not say.

    head: address of Ray's head process; asked when it is gone, Ray ends this process.
    """
    if not worker or not answers(head):
        return ""
    try:
        found = ray._private.state.actors(worker)
        return str(found.get("Address", {}).get("NodeID") or "")
    # not Ray's public interface: where it is another one a search goes on, and no node is set aside
    except Exception:
        return ""
