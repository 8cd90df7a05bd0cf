"""A member as a Ray Tune trainable, called as Ray calls it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tune_lb import Arm, Space, over
from tune_lb.budgets import Epochs
from tune_lb.data.device import on_device
from tune_lb.errors import RequestError
from tune_lb.models import MLP
from tune_lb.observation.outcome import outcomes
from tune_lb.optimizers import SGD, Adam
from tune_lb.remedies import EMA, SAM, BatchGrowth
from tune_lb.schedules import Constant
from tune_lb.space.designs import unchecked_designs
from tune_lb.testing.small_training import Clusters
from tune_lb.training.training import Training
from tune_lb.tuning.member_trainable import MemberTrainable, OwnArm
from tune_lb.tuning.own_tuner import in_range, mutations, own_arm, param_space, trainable


def space(*remedies: Any, **settings: Any) -> Space:
    chosen: dict[str, Any] = {
        "model": MLP(hidden=(6,)),
        "eta_over_b": over(1e-3, 1e-1, log=True),
        "batch_size": 8,
        "budget": Epochs(4),
    }
    arms = (Arm("small", batch_size=4), Arm("a", *remedies))
    return Space("Does it help?", Clusters(), arms=arms, baseline="small", **(chosen | settings))


SEARCHED = space(SAM(rho=over(0.01, 0.5, log=True)))
CONFIG = {"eta_over_b": 0.01, "sam.rho": 0.1}


def begun(own: OwnArm, config: dict[str, Any]) -> MemberTrainable:
    """Return it without Ray's folders and logs, which its own methods do not need."""
    made = MemberTrainable.__new__(MemberTrainable)
    made.setup(dict(config), own)
    return made


def steps(member: MemberTrainable, most: int = 100) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < most and not (found and found[-1].get("done")):
        found.append(member.step())
    return found


def without_time(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("wall_s", "peak_memory_bytes")}


def went_on(own: OwnArm, before: dict[str, Any], after: dict[str, Any], epochs: int, folder: Path) -> MemberTrainable:
    """Return a member of one configuration that goes on from a checkpoint of another, after epochs."""
    donor = begun(own, before)
    steps(donor, epochs)
    donor.save_checkpoint(str(folder))
    assert [path.name for path in folder.iterdir()] == ["member.safetensors"]
    taker = begun(own, after)
    taker.load_checkpoint(str(folder))
    return taker


def test_each_epoch_is_a_row_and_the_last_is_that_of_the_member() -> None:
    rows = steps(begun(own_arm(SEARCHED, "a"), CONFIG))
    assert [row["epochs"] for row in rows] == [1.0, 2.0, 3.0, 4.0]
    assert [row["status"] for row in rows] == ["unfinished"] * 3 + ["completed"]
    assert [row["updates"] for row in rows] == [3, 6, 9, 12]
    assert [row["gradient_evaluations"] for row in rows] == [6, 12, 18, 24], "SAM takes two for an update"
    seen = {
        "train_loss",
        "train_error",
        "validation_loss",
        "validation_error",
        "eta_over_b",
        "lr",
        "sam.rho",
        "arm",
        "seed",
    }
    assert all(seen <= row.keys() for row in rows)
    assert rows[0]["lr"] == pytest.approx(0.08)
    # what a search makes of the same member
    trial = next(d for d in unchecked_designs(SEARCHED) if d.name == "a").template.resolved(CONFIG)
    training = Training(trial, [0], on_device(Clusters().load(0), "cpu"))
    while not training.done:
        training.advance()
    expected = without_time(outcomes(training, metrics=(), wall_s=0.0)[0].row)
    assert {name: rows[-1].get(name) for name in expected} == expected


def test_no_test_error_is_seen_before_the_end() -> None:
    rows = steps(begun(own_arm(SEARCHED, "a", metrics=("parameter_norm",)), CONFIG))
    assert not any(name.startswith(("test", "generalization", "parameter_norm")) for row in rows[:-1] for name in row)
    assert {"test_error", "generalization_gap", "parameter_norm"} <= rows[-1].keys()


@pytest.mark.parametrize("remedies", [(), (SAM(rho=0.1), EMA(half_life=1.0)), (BatchGrowth(initial=4),)], ids=str)
def test_what_goes_on_from_a_checkpoint_is_as_if_nothing_had_been(remedies: Sequence[Any], tmp_path: Path) -> None:
    own, config = own_arm(space(*remedies), "a"), {"eta_over_b": 0.01}
    whole = steps(begun(own, config))
    taker = went_on(own, config, config, 2, tmp_path)
    assert without_time(steps(taker)[-1]) == without_time(whole[-1])


def test_a_worker_that_is_used_again_is_as_a_fresh_one() -> None:
    own, other = own_arm(SEARCHED, "a"), CONFIG | {"sam.rho": 0.5, "eta_over_b": 0.05}
    used = begun(own, other)
    steps(used, 2)
    assert used.reset_config(dict(CONFIG))
    assert list(map(without_time, steps(used))) == list(map(without_time, steps(begun(own, CONFIG))))


def linear(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Linear(shape[0], classes)


def test_a_rate_that_a_scheduler_changes_is_that_of_the_next_epochs(tmp_path: Path) -> None:
    """Against SGD of torch's own on the whole train set, whose rate and momentum are changed after two steps."""
    asked = space(model=linear, batch_size=24, schedule=Constant(), eta_over_b=None, lr=over(0.01, 1.0))
    asked = dataclasses.replace(asked, optimizer=SGD(momentum=over(0.0, 0.99)))
    own = own_arm(asked, "a")
    taker = went_on(own, {"lr": 0.05, "momentum": 0.9}, {"lr": 0.4, "momentum": 0.5}, 2, tmp_path)
    row = steps(taker)[-1]

    data = Clusters().load(0)
    inputs = torch.tensor((data.train.inputs - 0.1) / 1.5)
    network = linear((5,), 3)
    network.load_state_dict(Training(taker.trial, [0], on_device(data, "cpu")).initial(0))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for step in range(4):
        if step == 2:
            optimizer.param_groups[0] |= {"lr": 0.4, "momentum": 0.5}
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs), torch.tensor(data.train.targets)).backward()
        optimizer.step()
    loss = nn.functional.cross_entropy(network(inputs), torch.tensor(data.train.targets)).item()
    assert row["train_loss"] == pytest.approx(loss, rel=1e-5)
    assert row["configurations"] == "0: lr=0.05, momentum=0.9 | 2: lr=0.4, momentum=0.5"
    assert (row["lr"], row["momentum"]) == (0.4, 0.5)


def test_another_batch_goes_on_at_the_same_number_of_examples(tmp_path: Path) -> None:
    own = own_arm(space(batch_size=over([4, 12]), budget=Epochs(2)), "a")
    taker = went_on(own, {"eta_over_b": 0.01, "batch_size": 4}, {"eta_over_b": 0.01, "batch_size": 12}, 1, tmp_path)
    assert taker.training.step == 2, "24 examples were seen: two batches of 12"
    (row,) = steps(taker)
    assert (row["updates"], row["examples"], row["status"]) == (4, 48, "completed")


@pytest.mark.parametrize(
    ("asked", "before", "after", "named"),
    [
        (space(optimizer=over([SGD(), Adam()])), {"optimizer": "SGD()"}, {"optimizer": "Adam()"}, "optimizer"),
        (space(EMA(half_life=over([0.0, 0.9]))), {"ema.half_life": 0.0}, {"ema.half_life": 0.9}, "ema.half_life"),
    ],
    ids=["optimizer", "remedy"],
)
def test_what_changes_the_form_of_what_is_kept_is_refused(
    asked: Space, before: dict[str, Any], after: dict[str, Any], named: str, tmp_path: Path
) -> None:
    rate = {"eta_over_b": 0.01}
    with pytest.raises(RequestError, match=f"arm 'a': training cannot go on from a checkpoint with another {named}:"):
        went_on(own_arm(asked, "a"), before | rate, after | rate, 1, tmp_path)


def test_a_diverged_member_ends_at_once_with_what_a_scheduler_takes_for_bad() -> None:
    own = own_arm(space(model=linear, eta_over_b=None, lr=over(0.1, 1e38)), "a")
    (row,) = steps(begun(own, {"lr": 1e38}))
    assert (row["status"], row["done"]) == ("diverged", True)
    assert row["validation_loss"] == math.inf
    assert row["validation_error"] == pytest.approx(2 / 3), "of a guess among three classes"
    assert not any(isinstance(value, float) and math.isnan(value) for value in row.values())


def test_seed_split_and_other_fields_may_stand_in_the_configuration() -> None:
    own = own_arm(SEARCHED, "a", seed=3, split_seed=1)
    trial, seed = own.member(CONFIG)
    assert (trial.split_seed, seed) == (1, 3)
    trial, seed = own.member(CONFIG | {"seed": 7, "split_seed": 2, "batch_size": 12, "momentum": 0.5})
    assert (trial.split_seed, seed, trial.batch_size, trial.optimizer.effective_momentum()) == (2, 7, 12, 0.5)
    trial, _ = own.member({"lr": 0.2, "sam.rho": 0.1})
    assert (trial.learning_rate, trial.eta_over_b) == (0.2, None)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (CONFIG | {"rho": 0.1}, r"arm 'a' has no field 'rho'"),
        ({"eta_over_b": 0.01}, r"arm 'a' searches sam.rho, for which the configuration has no value; param_space"),
        (CONFIG | {"sam.rho": -1.0}, r"arm 'a': sam.rho = -1.0: must be at least 0"),
    ],
)
def test_a_configuration_that_is_none_is_refused_in_a_line(config: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        own_arm(SEARCHED, "a").member(config)


@pytest.mark.parametrize(
    ("asked", "arm", "said"),
    [
        (SEARCHED, "b", "the space has no arm 'b'"),
        (
            dataclasses.replace(SEARCHED, reference="a"),
            "a_copied",
            "takes its configuration from what arm 'small' selects",
        ),
        (space(batch_size=40), "a", "arm 'a'.*40"),
    ],
)
def test_an_arm_that_cannot_be_trained_so_is_refused_before_anything_starts(asked: Space, arm: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        trainable(asked, arm=arm)


def test_what_is_searched_is_rays() -> None:
    asked = space(SAM(rho=over(0.01, 0.5, log=True)), batch_size=over([8, 24]))
    found = param_space(asked, arm="a")
    assert {name: domain.domain_str for name, domain in found.items()} == {
        "eta_over_b": "(0.001, 0.1)",
        "batch_size": "[8, 24]",
        "sam.rho": "(0.01, 0.5)",
    }
    assert mutations(asked, arm="a")["batch_size"] == [8, 24]
    assert trainable(asked, arm="a").__name__ == "a"


def test_lists_of_parts_are_choices_of_rays_and_what_is_not_there_may_have_a_value() -> None:
    asked = space(over([SAM(rho=over(0.01, 0.5)), None]), optimizer=over([SGD(momentum=over(0.0, 0.9)), Adam()]))
    found = param_space(asked, arm="a")
    assert {name: domain.domain_str for name, domain in found.items()} == {
        "eta_over_b": "(0.001, 0.1)",
        "optimizer": "['SGD', 'Adam']",
        "remedy": "['sam', 'none']",
        "momentum": "(0.0, 0.9)",
        "sam.rho": "(0.01, 0.5)",
    }
    own = own_arm(asked, "a")
    whole = {"eta_over_b": 0.01, "optimizer": "Adam", "remedy": "sam", "momentum": 0.3, "sam.rho": 0.2}
    trial, _ = own.member(whole)
    assert (trial.optimizer, trial.remedies) == (Adam(), (SAM(rho=0.2),))
    short, _ = own.member({"eta_over_b": 0.01, "optimizer": "Adam", "remedy": "none"})
    assert (short.optimizer, short.remedies, short.columns()["remedy"]) == (Adam(), (), "none")
    with pytest.raises(RequestError, match=r"searches sam.rho, for which the configuration has no value"):
        own.member({"eta_over_b": 0.01, "optimizer": "Adam", "remedy": "sam"})
    with pytest.raises(RequestError, match=r"a: remedy|remedy = 'smm' is none of sam, none; did you mean 'sam'"):
        own.member(whole | {"remedy": "smm"})


def test_a_perturbed_number_is_put_back_into_its_range() -> None:
    put = in_range(SEARCHED, arm="a")
    config = {"eta_over_b": 0.12, "sam.rho": 0.008, "batch_size": 8}
    assert put(config) == {"eta_over_b": 0.1, "sam.rho": 0.01, "batch_size": 8}
    assert put(CONFIG) == CONFIG
