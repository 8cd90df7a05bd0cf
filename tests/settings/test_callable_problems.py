"""What a function or object may be that stands in a setting, and what is said of one that may not."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import pytest

from tests.trainings import trial
from tune_lb.models.mlp import MLP
from tune_lb.settings.domain import over
from tune_lb.settings.identity import callable_problems


@dataclass(frozen=True)
class Ordinary:
    width: Any = 3

    def __call__(self, shape: tuple[int, ...], classes: int) -> Any:
        return MLP(hidden=(self.width,))(shape, classes)


def make(shape: tuple[int, ...], classes: int, width: Any = 3) -> Any:
    return MLP(hidden=(width,))(shape, classes)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (functools.partial(make, width=over([3, 4])), "width is not seen in a partial"),
        (functools.partial(make, over(1, 4)), "0 is not seen in a partial"),
        (Ordinary(width=over(1, 4, integer=True)), "width is not seen in a Ordinary"),
    ],
)
def test_what_is_searched_where_nobody_looks_is_said_b14(value: Any, name: str) -> None:
    (problem,) = callable_problems(value)
    assert name in problem
    assert problem.endswith("derives from tune_lb.Settings")
    assert any(problem in found for found in trial(model=value).problems())


def test_what_has_a_name_is_none() -> None:
    assert callable_problems(make) == callable_problems(functools.partial(make, width=4)) == []
    assert callable_problems(Ordinary()) == callable_problems(MLP(hidden=over([(3,), (4,)]))) == []
    assert callable_problems(None) == []
