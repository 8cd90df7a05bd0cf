"""How many trainings run at once, from what machines have and what was asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tune_lb.errors import RequestError
from tune_lb.tuning.resources import Resources, resources_of, this_machine, usable_cpus

CPU_NODES = [{"CPU": 4.0}, {"CPU": 3.0, "memory": 1e9}]
GPU_NODES = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 4.0}, {"CPU": 16.0}]


@pytest.mark.parametrize(
    ("nodes", "asked", "expected"),
    [
        (CPU_NODES, {}, Resources(1, 0, 7)),
        (CPU_NODES, {"cpus": 2}, Resources(2, 0, 3)),
        (CPU_NODES, {"max_concurrent": 2}, Resources(1, 0, 2)),
        (CPU_NODES, {"max_concurrent": 20}, Resources(1, 0, 7)),
        (CPU_NODES, {"max_concurrent": 20, "may_grow": True}, Resources(1, 0, 20)),
        ([], {"gpus": 1, "max_concurrent": 5, "may_grow": True}, Resources(1, 1, 5)),
        (GPU_NODES, {}, Resources(1, 1, 3)),
        (GPU_NODES, {"gpus": 0.25}, Resources(1, 0.25, 9)),
        (GPU_NODES, {"gpus": 0}, Resources(1, 0, 25)),
    ],
)
def test_workers_fit_on_nodes_one_by_one(
    nodes: list[dict[str, float]], asked: dict[str, float], expected: Resources
) -> None:
    assert resources_of(nodes, **asked) == expected  # type: ignore[arg-type]


def test_more_than_any_node_has_is_refused() -> None:
    with pytest.raises(RequestError, match=r"asks for 5 CPUs and 0 GPUs; no node has them \(4 CPUs and 0 GPUs; 3"):
        resources_of(CPU_NODES, cpus=5)


def test_a_container_s_quota_counts(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    assert usable_cpus(tmp_path) == cores
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cpus(tmp_path) == cores
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert usable_cpus(tmp_path) == 1
    assert this_machine()[0]["CPU"] >= 1
