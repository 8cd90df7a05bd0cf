"""How members are trained is decided on steps timed here; what torch.func cannot vectorise goes one at a time, and is told."""

from __future__ import annotations

import time

import pytest
from torch import Tensor, nn

from tests.networks import ZOO
from tests.space.test_space import space
from tests.trainings import Blobs, trial
from tune_lb.data.device import on_device
from tune_lb.errors import RequestError
from tune_lb.space.checks import checked_designs
from tune_lb.tuning import compiling, execution_choice
from tune_lb.tuning.cost_estimate import typical_trials
from tune_lb.tuning.execution_choice import Execution, choose_execution
from tune_lb.tuning.network_findings import finding_notes, network_findings


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


def chosen(
    known: dict[str, str] | None = None, updates: int = 1, compiles: bool = True, most: int = 1, **settings: object
) -> Execution:
    of = space(**settings)
    designs = checked_designs(of)
    trials = typical_trials(of, designs)
    parts = dict.fromkeys(trials, on_device(Blobs().load(0), "cpu"))
    return choose_execution(
        of,
        designs,
        trials,
        parts,
        findings=network_findings(trials, parts),
        known=known,
        most=dict.fromkeys(trials, most),
        members=2,
        updates=dict.fromkeys(trials, updates),
        processes=1,
        compiles=compiles,
    )


def test_a_dry_run_compiles_nothing_and_says_so_where_a_search_might(monkeypatch):
    monkeypatch.setattr(compiling, "can_compile", lambda device: True)
    for name in ("seconds_per_update", "seconds_in_compiled_stack"):
        monkeypatch.setattr(compiling, name, lambda *rest: pytest.fail("it was compiled"))
    long, short = chosen(updates=10**9, compiles=False), chosen(compiles=False)
    assert (long.notes, short.notes) == ([compiling.NOT_COMPILED], [])
    assert set(long.ways.values()) <= {"alone", "together"}


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


def test_a_network_that_keeps_state_is_trained_the_plain_way_with_all_of_its_batch_size():
    execution = chosen(model=ZOO["a counter"].model)
    assert set(execution.ways.values()) == {"plain"}
    assert all(seconds > 0 for seconds in execution.seconds.values())


@pytest.mark.parametrize("asked", ["together", "alone", "compiled_alone"])
def test_another_way_is_refused_with_the_reason(asked):
    with pytest.raises(
        RequestError, match=f"execution = '{asked}' is wrong for its network .Counting.calls is changed"
    ):
        chosen(model=ZOO["a counter"].model, execution=asked)


def test_a_run_that_was_begun_another_way_is_not_gone_on_with():
    known = dict.fromkeys(chosen().ways, "alone")
    with pytest.raises(RequestError, match=r"was begun with execution = 'alone', which is wrong .*another name"):
        chosen(known, model=ZOO["a counter"].model)


def test_the_plan_says_what_was_found():
    parts = on_device(Blobs().load(0), "cpu")
    trials = {name: trial(model=ZOO[kind].model) for name, kind in (("a", "a counter"), ("b", "functional dropout"))}
    plain, drawing = finding_notes(network_findings(trials, dict.fromkeys(trials, parts)))
    assert plain.startswith("arm 'a': trained the plain way")
    assert plain.endswith("Counting.calls is changed by forward, and is no buffer")
    assert drawing.startswith("arm 'b': the network draws random numbers itself (torch)")


def test_what_is_found_for_one_alternative_holds_for_its_arm():
    parts = on_device(Blobs().load(0), "cpu")
    trials = {name: trial(model=ZOO["plain layers"].model) for name in ("one_of", "other")}
    others = {"one_of": [trial(model=ZOO[kind].model) for kind in ("functional dropout", "a counter")]}
    found = network_findings(trials, dict.fromkeys(trials, parts), others)
    assert (found["other"].is_plain, found["other"].draws) == (False, [])
    assert found["one_of"].is_plain
    assert found["one_of"].draws == ["torch"]
    others["one_of"].append(trial(model=ZOO["dropout that stays on"].model))
    with pytest.raises(RequestError, match="arm 'one_of': AlwaysDropping draws random numbers in evaluation mode"):
        network_findings(trials, dict.fromkeys(trials, parts), others)


def test_networks_that_no_way_is_right_for_are_named_once_with_their_arms():
    parts = on_device(Blobs().load(0), "cpu")
    kinds = ["a counter outside", "plain layers", "a counter outside", "dropout that stays on"]
    trials = {f"arm{i}": trial(model=ZOO[kind].model) for i, kind in enumerate(kinds)}
    with pytest.raises(RequestError) as caught:
        network_findings(trials, dict.fromkeys(trials, parts))
    first, second = caught.value.problems
    assert first.startswith("arms 'arm0', 'arm2': Global: ")
    assert second.startswith("arm 'arm3': AlwaysDropping draws random numbers in evaluation mode")


@pytest.mark.parametrize(("updates", "way"), [(10_000, "compiled_together"), (1, "together")])
def test_stacks_are_compiled_where_what_is_saved_exceeds_what_compiling_takes(monkeypatch, updates, way):
    sizes = []

    def compiled(trial, parts, size, microbatch):
        sizes.append(size)
        time.sleep(0.05)
        return 1e-4

    monkeypatch.setattr(execution_choice, "seconds_in_stacks", lambda *_: {4: 2e-3, 8: 1e-3})
    monkeypatch.setattr(execution_choice, "seconds_per_update", lambda *_: 1.0)
    monkeypatch.setattr(compiling, "seconds_in_compiled_stack", compiled)
    monkeypatch.setattr(compiling, "seconds_per_update", lambda *_: 1.0)
    # it is tried in both cases, and takes 50 milliseconds, as long as 50 eager updates
    monkeypatch.setattr(compiling, "COMPILATION_S", 0.0)
    execution = chosen(most=8, updates=updates)
    assert set(execution.ways.values()) == {way}
    assert set(execution.stacked.values()) == {8}
    assert set(sizes) == {8}


def test_a_run_of_compiled_stacks_goes_on_with_them(monkeypatch):
    monkeypatch.setattr(execution_choice, "seconds_in_stacks", lambda *_: {4: 2e-3, 8: 1e-3})
    monkeypatch.setattr(compiling, "seconds_in_compiled_stack", lambda *_: 5e-4)
    execution = chosen(dict.fromkeys(chosen().ways, "compiled_together"), most=8)
    assert set(execution.ways.values()) == {"compiled_together"}
    assert set(execution.stacked.values()) == {8}
