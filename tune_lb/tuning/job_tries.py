"""Whether a job whose worker died is tried again, and on which nodes no job is: decided from what died where, without Ray."""

from __future__ import annotations

from collections import Counter

from tune_lb.search.job import Job
from tune_lb.tuning.deaths import Death

TRIES = 3
"""How often a job is tried whose workers die of what is not known."""

TRIES_ITSELF = 2
"""How often one is tried that ended its worker itself, as it will again."""

OUTSIDE_TIMES = 20
"""Deaths of a job's workers from outside (a lost node, a kill) that count for nothing; as many more count as any others."""

FAILURES_OF_NODE = 3
"""Jobs that fail in a row on a node, of arms that are trained elsewhere, before it gets no more of them."""


class JobTries:
    """Keeps what died where.

    A node that was lost, and a worker that was killed by a hand from outside, say nothing of the job: it goes on elsewhere, and no
    failure is counted. A node on which job after job fails while other nodes train jobs of the same arms is set aside: it gets no
    more in this call, and what failed there does not count either. nodes are known by ids; "" is one that is not known.
    """

    def __init__(self) -> None:
        self.set_aside: dict[str, str] = {}
        """Nodes that get no more jobs, and the last cause."""
        self._counted: dict[str, list[str]] = {}
        """By job the nodes on which its workers died, each as often as they did."""
        self._outside: Counter[str] = Counter()
        self._in_a_row: dict[str, list[str]] = {}
        """By node the arms of jobs that failed there since one was trained."""
        self._last: dict[str, str] = {}
        self._trained: dict[str, set[str]] = {}
        """By arm the nodes on which jobs of it were trained."""

    def trained(self, job: Job, node: str) -> None:
        """Take in that members of a job were trained on a node."""
        self._in_a_row.pop(node, None)
        self._trained.setdefault(job.arm, set()).add(node)
        self._look()

    def failed(self, job: Job, node: str, cause: str) -> None:
        """Take in that a job failed on a node: its worker died there, or none of its members could be trained."""
        if node:
            self._in_a_row.setdefault(node, []).append(job.arm)
            self._last[node] = cause
            self._look()

    def again(self, job: Job, death: Death, node: str = "") -> bool:
        """Take in that a worker died over a job; say whether that is tried again in this call."""
        if not death.lost:
            self.failed(job, node, death.cause)
        if death.outside and self._outside[job.key] < OUTSIDE_TIMES:
            self._outside[job.key] += 1
            return True
        counted = self._counted.setdefault(job.key, [])
        counted.append(node)
        own = sum(place not in self.set_aside for place in counted)
        return own < (TRIES_ITSELF if death.itself else TRIES)

    def _look(self) -> None:
        """Set nodes aside whose failures are their own."""
        for node, arms in self._in_a_row.items():
            elsewhere = [arm for arm in arms if self._trained.get(arm, set()) - {node, ""} - self.set_aside.keys()]
            if len(elsewhere) >= FAILURES_OF_NODE:
                self.set_aside.setdefault(node, self._last[node])
