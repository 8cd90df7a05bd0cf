"""What every report says of a run beside its findings: mixtures, failures, code that changed, under-trained arms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis.caveats import Caveat
from analysis.decomposition import UNDER_TRAINED_ERROR
from analysis.notation import listed, percent, significant
from analysis.run import Run

PROVENANCE = ("git_commit", "tune_lb_version", "torch_version", "device", "execution", "threads")


def kind_of_error(results: Run) -> Iterator[str]:
    """What errors are, where they are no shares of misclassified examples."""
    asked = results.asked
    if asked.error is not None:
        hundredths = "" if asked.is_share else "; % and points are hundredths of it"
        yield f"Errors (test error, validation error, train error) are each the {asked.error}{hundredths}."


def of_old_code(results: Run) -> Iterator[str]:
    """Members that are left out since the user's code changed."""
    old = results.frames.of_old_code
    if old:
        named = listed([f"{number} of {arm}" for arm, number in old.items()])
        text = f"Left out are members trained with code that has changed since (column code): {named}."
        yield Caveat("code changed", text)


def under_trained_text(reference: str | None, row: dict[str, Any], baseline: str | None, other: dict[str, Any]) -> str:
    """Why the reference is called under-trained. row, other: of it and of the baseline in the table of arms."""
    ratio = (
        f"{significant(row['train_loss'] / other['train_loss'])} times that of {baseline}"
        if other["train_loss"]
        else "higher"
    )
    error = f"{percent(row['train_error'])} % (limit {percent(UNDER_TRAINED_ERROR, 1)} %)"
    return (
        f"{reference} is under-trained: its train error is {error} and its train loss is {ratio}. "
        "Part of the drop may be training that has not ended rather than the minimum it ends in."
    )


def failures(results: Run) -> Iterator[str]:
    """Members without a result, and diverged ones."""
    failed = {
        str(k): int(v) for k, v in results.members["status"].value_counts().items() if k in ("failed", "out_of_memory")
    }
    if failed:
        counts = listed([f"{v} {k}" for k, v in failed.items()])
        yield Caveat("members failed", f"Members without a result: {counts}; they count nowhere.")
    confirmed = results.confirmed
    diverged = confirmed.loc[confirmed["status"] == "diverged", "arm"].value_counts()
    if len(diverged):
        texts = [f"{number} of {arm}" for arm, number in diverged.items()]
        yield Caveat("diverged", f"Diverged confirm members count at chance error: {listed(texts)}.")


def mixtures(confirmed: pd.DataFrame) -> Iterator[str]:
    """What the results mix: versions, devices, ways of execution."""
    for name in PROVENANCE:
        if name not in confirmed:
            continue
        values = sorted(map(str, confirmed[name].dropna().unique()))
        # members of one batch size are trained one way; the ways of two sizes differ by design
        within = confirmed.groupby("batch_size")[name].nunique().max() if name == "execution" else len(values)
        if within > 1:
            yield Caveat("mixed", f"The results mix {name}: {listed(values)}.")
