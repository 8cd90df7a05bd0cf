"""The progress of a search: a live table where somebody watches, else few plain lines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tune_lb.cli.output import Output, duration

if TYPE_CHECKING:
    from tune_lb.tuning.progress import SearchProgress

SILENT_S = 10.0
"""A preparation says what it does where it was silent for so long."""

LINE_EVERY_S = 60.0
"""Plain lines go to files and logs of batch systems: one a minute says enough."""


class Progress:
    """Shows each snapshot that it is called with; to be entered before the search and left after it."""

    def __init__(self, out: Output, line_every_s: float = LINE_EVERY_S) -> None:
        self.out, self.line_every_s = out, line_every_s
        self.live = Live(console=out.console, auto_refresh=False, transient=True) if out.is_terminal else None
        self.stages: dict[str, str] = {}
        self.unsaid: list[str] = []
        """Stages that ended since the last line."""
        self.last_line_s = 0.0
        self.num_cuts = 0

    def __enter__(self) -> Progress:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self.live is not None:
            self.live.stop()

    def __getstate__(self) -> dict[str, object]:
        # Tune pickles whatever its callbacks hold, never to use it; a console cannot be pickled
        return {}

    def __call__(self, snapshot: SearchProgress) -> None:
        """Show how far the search is, and at once what was cut of it."""
        for line in snapshot.cut[self.num_cuts :]:
            self.out.line(line, style="yellow")
        self.num_cuts = len(snapshot.cut)
        if self.live is not None:
            self.live.update(Group(_table(snapshot), Text(_counts(snapshot))), refresh=True)
            return
        self.unsaid += self._finished(snapshot)
        if snapshot.elapsed_s - self.last_line_s >= self.line_every_s:
            self.last_line_s = snapshot.elapsed_s
            self.out.line("; ".join([_counts(snapshot), *self.unsaid]))
            self.unsaid.clear()

    def _finished(self, snapshot: SearchProgress) -> list[str]:
        """Return the stages that ended since the last snapshot; those found done at the start did not end now."""
        before, self.stages = self.stages, {arm.name: arm.stage for arm in snapshot.arms}
        return [f"{arm}: {stage} done" for arm, stage in before.items() if self.stages.get(arm, stage) != stage]


class Steps:
    """Shows what a preparation does: a line drawn over where somebody watches, else a line where nothing was said for a while."""

    def __init__(self, out: Output, silent_s: float = SILENT_S, now: Callable[[], float] = time.monotonic) -> None:
        self.out, self.silent_s, self.now = out, silent_s, now
        self.status = out.console.status("") if out.is_terminal else None
        self.said = now()

    def __enter__(self) -> Steps:
        if self.status is not None:
            self.status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status is not None:
            self.status.stop()

    def __call__(self, text: str) -> None:
        """Show what is done now."""
        if self.status is not None:
            self.status.update(Text(f"{text} ..."))
        elif self.now() - self.said >= self.silent_s:
            self.said = self.now()
            self.out.line(f"{text} ...")


def _counts(snapshot: SearchProgress) -> str:
    done = snapshot.members_done >= snapshot.members_total
    left = "" if snapshot.left_s is None or done else f", about {duration(max(1.0, snapshot.left_s))} left"
    failed = f", {snapshot.failed:,} failed" if snapshot.failed else ""
    members = f"{snapshot.members_done:,} of {snapshot.members_total:,} members"
    return f"{duration(snapshot.elapsed_s):>12}  {members}, {snapshot.running} running{failed}{left}"


def _table(snapshot: SearchProgress) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for header in ("arm", "stage", "", "members", snapshot.best):
        table.add_column(header, justify="right" if header in ("members", snapshot.best) else "left", no_wrap=True)
    for arm in snapshot.arms:
        value = arm.best
        shown = value is not None and math.isfinite(value)
        best = "" if value is None or not shown else f"{100 * value:.2f} %" if snapshot.in_percent else f"{value:.4g}"
        bar = ProgressBar(total=max(arm.total, 1), completed=arm.done, width=20)
        table.add_row(
            arm.name,
            arm.stage,
            bar,
            f"{arm.done:,} of {arm.total:,}",
            best,
            style="dim" if arm.stage == "done" else None,
        )
    return table
