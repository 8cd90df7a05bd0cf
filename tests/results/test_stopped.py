"""Which members of a search wait for a look: told from rows by hand."""

from __future__ import annotations

import pytest

from tune_lb.results.stopped import looks_passed, waiting


def row(seed, status, *losses, arm="sam", stage="search"):
    known = {f"look{number}.validation_loss": loss for number, loss in enumerate(losses, 1)}
    return {
        "trial_id": "a",
        "seed": seed,
        "arm": arm,
        "stage": stage,
        "status": status,
        "look3.validation_loss": None,
    } | known


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # nobody came farther than the first look
        ([row(0, "stopped", 0.5), row(1, "stopped", 0.4), row(2, "diverged")], {0, 1}),
        # one did, so it is decided: the others stay where they are
        ([row(0, "stopped", 0.5), row(1, "stopped", 0.4, 0.3), row(2, "stopped", 0.6)], {1}),
        ([row(0, "stopped", 0.5), row(1, "stopped", 0.4, 0.3), row(2, "completed", 0.3, 0.2)], set()),
        # of another arm, another stage, and one that diverged on its way nothing follows
        ([row(0, "stopped", 0.5), row(1, "completed", 0.3, 0.2, arm="noisy"), row(2, "completed", stage="confirm")], {0}),
        ([row(0, "stopped", 0.5), row(1, "diverged", 0.5, 0.4), row(2, "failed")], {0}),
    ],
)  # fmt: skip
def test_who_waits(rows, expected):
    assert waiting(rows) == {("a", seed) for seed in expected}


def test_how_many_looks_were_passed():
    assert [looks_passed(row(0, "stopped", *losses)) for losses in ((), (0.5,), (0.5, 0.25))] == [0, 1, 2]
