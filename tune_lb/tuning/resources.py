"""Resources: what machines have, and how many trainings run at once on it. No Ray: nodes are what Ray says of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tune_lb.errors import RequestError

Node = Mapping[str, float]
"""CPU and GPU of one machine, as Ray counts them."""


@dataclass(frozen=True)
class Resources:
    """What one worker gets, and how many run at once."""

    cpus: float
    gpus: float
    concurrency: int

    @property
    def share(self) -> float:
        """Return the share of a GPU that a worker may take; 1 where it has none, or whole ones."""
        return self.gpus if 0 < self.gpus < 1 else 1.0


def usable_cpus(cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the cores that this process may use: fewer than the machine has under taskset, Slurm or a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        if all((cgroups / name).is_file() for name in names):
            quota, period = " ".join((cgroups / name).read_text() for name in names).split()
            if quota.isdecimal():
                cores = min(cores, int(quota) // int(period))
    return max(1, cores)


def available_bytes(meminfo: Path = Path("/proc/meminfo"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the memory that this process and others of its container can still take; None where the system does not tell."""
    lines = meminfo.read_text().splitlines() if meminfo.is_file() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    for names in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        if all((cgroups / name).is_file() for name in names):
            limit, used = ((cgroups / name).read_text().strip() for name in names)
            if limit.isdecimal():
                # pages of files count as used, and are given up where they must be
                stat = cgroups / Path(names[0]).parent / "memory.stat"
                lines = stat.read_text().splitlines() if stat.is_file() else []
                files = sum(int(line.split()[1]) for line in lines if line.split()[0] in ("file", "cache"))
                found.append(max(0, int(limit) - int(used) + files))
    return min(found, default=None)


def this_machine() -> list[Node]:
    """Return this machine as the only node: what a search without --address runs on."""
    return [{"CPU": float(usable_cpus()), "GPU": float(torch.cuda.device_count())}]


def resources_of(
    nodes: Sequence[Node],
    *,
    cpus: float | None = None,
    gpus: float | None = None,
    max_concurrent: int | None = None,
    may_grow: bool = False,
) -> Resources:
    """Return what a worker gets and how many run at once, from what was asked (None: found by itself).

    A worker has one CPU, and one GPU where there are any. may_grow: nodes may come on demand, and max_concurrent decides.
    Raises RequestError where no node has what a worker asks for.
    """
    cpus = cpus or 1.0
    gpus = (1.0 if any(node.get("GPU", 0) for node in nodes) else 0.0) if gpus is None else gpus
    room = 0
    for node in nodes:
        on_cpus = int(node.get("CPU", 0) // cpus)
        room += min(on_cpus, int(node.get("GPU", 0) // gpus)) if gpus else on_cpus
    if may_grow and max_concurrent is not None:
        # trials that wait make an autoscaler start more nodes
        return Resources(cpus, gpus, max_concurrent)
    if room == 0:
        there = "; ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise RequestError(
            f"a trial asks for {cpus:g} CPUs and {gpus:g} GPUs; no node has them ({there}). "
            "Ask for less with --cpus-per-trial or --gpus-per-trial; where nodes come on demand give --max-concurrent"
        )
    return Resources(cpus, gpus, min(max_concurrent or room, room))
