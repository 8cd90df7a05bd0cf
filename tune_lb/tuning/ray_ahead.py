"""Ray of this machine, started before updates are timed: its workers import meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import TracebackType

from tune_lb.tuning.cluster import Session, ray_session


class RayAhead:
    """Ray for one search. `start` may be called early: its workers then import beside what follows; without it `session` starts it.

    Cost: 2 to 3 s to start, while workers import for 2 to 4 s on other cores; about 1.5 s to end. A cluster is connected to only
    when it is needed. Neither is done in a thread: Ray draws from `random`, which networks are watched for; the system ends Ray's
    processes with the thread that began them; and what still refers to Ray when another thread ends it, ends this process.
    """

    def __init__(self, address: str | None, cpus: Callable[[], float | None] = lambda: None) -> None:
        """cpus: asked when Ray starts on this machine; see ray_session."""
        self.address, self.cpus = address, cpus
        self._opened = contextlib.ExitStack()
        self._session: Session | None = None

    def __enter__(self) -> RayAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    def start(self) -> None:
        """Start Ray on this machine. Raises RequestError as ray_session."""
        if self.address is None:
            self._started()

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """Ray, started or connected to; it ends with the block. Raises RequestError as ray_session."""
        with self._opened:
            yield self._started()

    def _started(self) -> Session:
        if self._session is None:
            self._session = self._opened.enter_context(ray_session(self.address, None if self.address else self.cpus()))
        return self._session
