"""Where an axis over training ends."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from analysis.reach import reach, within


def lines(**epochs: float) -> pd.DataFrame:
    return pd.DataFrame(
        [(arm, end / 2) for arm, end in epochs.items()] + list(epochs.items()), columns=["arm", "epoch"]
    )


@pytest.mark.parametrize(
    ("epochs", "end", "said"),
    [
        ({"a": 20, "b": 20, "c": 40}, math.inf, ""),
        ({"a": 20, "b": 40, "c": 400}, 40, " Cut at 40: c (400) goes on."),
        ({"a": 20, "b": 20, "c": 50, "d": 400}, 20, " Cut at 20: c (50) and d (400) go on."),
        # half of the arms at least stand on the axis whole
        ({"a": 1, "b": 100, "c": 100}, math.inf, ""),
        ({"a": 20, "b": 400}, 20, " Cut at 20: b (400) goes on."),
        ({"a": 20}, math.inf, ""),
    ],
)
def test_few_arms_that_train_much_longer_do_not_squeeze_the_others(
    epochs: dict[str, float], end: float, said: str
) -> None:
    table = lines(**epochs)
    assert reach(table, "epoch") == (end, said)
    assert within(table, "epoch")["epoch"].max() == min(end, max(epochs.values()))
