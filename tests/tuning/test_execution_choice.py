"""How members are trained is decided on steps timed here; what torch.func cannot vectorise goes one at a time, and is told."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from tests.space.test_space import space
from tests.trainings import Blobs
from tune_lb.data.device import on_device
from tune_lb.space.checks import checked_designs
from tune_lb.tuning.cost_estimate import typical_trials
from tune_lb.tuning.execution_choice import Execution, choose_execution


class ReadsItsValues(nn.Module):
    """A second layer where the mean of the first says so."""

    def __init__(self, fan_in: int, fan_out: int, how: str) -> None:
        super().__init__()
        self.first, self.last, self.how = nn.Linear(fan_in, fan_in), nn.Linear(fan_in, fan_out), how

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).relu()
        positive = y.mean().item() > 0 if self.how == "item" else y.mean() > 0
        return self.last(y) if positive else self.last(x)


def by_item(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return ReadsItsValues(input_shape[0], num_classes, "item")


def by_if(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return ReadsItsValues(input_shape[0], num_classes, "if")


def chosen(**settings: object) -> Execution:
    of = space(**settings)
    designs = checked_designs(of)
    trials = typical_trials(of, designs)
    return choose_execution(
        of,
        designs,
        trials,
        dict.fromkeys(trials, on_device(Blobs().load(0), "cpu")),
        members=2,
        updates=dict.fromkeys(trials, 1),
        processes=1,
    )


@pytest.mark.parametrize("model", [by_item, by_if])
def test_what_cannot_be_vectorised_is_trained_alone_with_one_line_that_says_where(model):
    execution = chosen(model=model)
    assert set(execution.ways.values()) == {"alone"}
    (note,) = execution.notes
    assert note.startswith(
        "members are trained one at a time: torch.func cannot vectorise the model (it reads the value"
    )
    assert "test_execution_choice.py:" in note
    assert all(seconds > 0 for seconds in execution.seconds.values())


def test_what_can_be_vectorised_needs_no_line():
    execution = chosen()
    assert execution.notes == []
    assert set(execution.ways.values()) <= {"alone", "together"}
