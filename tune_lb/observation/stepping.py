"""Training to an epoch's end with stops between, where somebody looks: the training and its rows are those without stops."""

from __future__ import annotations

from collections.abc import Callable, Collection

from tune_lb.training.members import HistoryRow
from tune_lb.training.running import Running


def advanced(
    training: Running, epochs: float, stops: Collection[int] = (), at_stop: Callable[[], None] = lambda: None
) -> list[HistoryRow]:
    """Train to the next multiple of so many epochs, call at_stop after those updates between, and return the training's rows."""
    start, end = training.step, training.next_stop(epochs)
    between = sorted(step for step in stops if start < step < end)
    if not between:
        return training.advance(epochs)
    rows: list[HistoryRow] = []
    while training.step < between[-1] and not training.done:
        rows += training.advance(1e-9)
        if training.step in between:
            at_stop()
    if not training.done:
        rows += training.advance(epochs)
    return joined(training, rows, start)


def joined(training: Running, rows: list[HistoryRow], start: int) -> list[HistoryRow]:
    """Return one row in place of several since a step: the mean loss, the last rate, of members that have not diverged."""
    by_name: dict[tuple[int, str], list[HistoryRow]] = {}
    for row in rows:
        by_name.setdefault((row.seed, row.name), []).append(row)
    diverged = {seed for group in training.groups for seed in group.diverged_at}
    found = []
    for (seed, name), own in by_name.items():
        if seed in diverged:
            continue
        value = own[-1].value
        if name == "running_train_loss":
            # each is the mean over the updates since the one before
            before = [start, *(row.step for row in own)]
            updates = [row.step - last for row, last in zip(own, before, strict=False)]
            value = sum(n * row.value for n, row in zip(updates, own, strict=True)) / sum(updates)
        found.append(own[-1]._replace(value=value))
    return found
