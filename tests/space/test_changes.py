"""What differs between two spaces is said field by field."""

from __future__ import annotations

import pytest

from tests.space.test_space import space
from tune_lb.budgets import Epochs, Updates
from tune_lb.errors import RequestError
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.models.mlp import MLP
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.warmup import Warmup
from tune_lb.settings.domain import over
from tune_lb.space.arm import Arm
from tune_lb.space.changes import MAX_LINES, changes, refuse_changed
from tune_lb.space.description import description

ARMS = (Arm("small", batch_size=4), Arm("large"), Arm("sam", SAM(rho=over(0.02, 1.0, log=True))))


def differences(before=ARMS, after=None, old=None, new=None):
    """Return the lines for two spaces that are the same but for their arms and settings."""
    plain = {"compute_matched": False}
    first = space(*before, **plain | (old or {}))
    return changes(description(first), description(space(*(after or before), **plain | (new or {}))))


def with_sam(*remedies, **settings):
    return (*ARMS[:2], Arm("sam", *remedies, **settings))


@pytest.mark.parametrize(
    ("after", "line"),
    [
        (with_sam(SAM(rho=over(0.05, 1.0, log=True))), "arms.sam.rho: was over(0.02, 1, log=True), now over(0.05, 1, log=True)"),
        (with_sam(SAM(rho=over([0.1, 0.2]))), "arms.sam.rho: was over(0.02, 1, log=True), now over([0.1, 0.2])"),
        (with_sam(*ARMS[2].remedies, Warmup(epochs=2.0)), "arms.sam.remedies: was sam, now sam, warmup"),
        (with_sam(*ARMS[2].remedies, batch_size=12), "arms.sam.batch_size: was 24, now 12"),
        (with_sam(*ARMS[2].remedies, budget=Epochs(3)), "arms.sam.epochs: was 20, now 3"),
        (with_sam(*ARMS[2].remedies, budget=Updates(3)), "arms.sam.budget: was Epochs(epochs=20), now Updates(updates=3)"),
        (with_sam(*ARMS[2].remedies, model=MLP(hidden=(3,))), "arms.sam.model.hidden: was [6], now [3]"),
        (with_sam(*ARMS[2].remedies, combines=("small",)), "arms.sam.combines: was [], now [small]"),
        ((*ARMS[:2], Arm("ghost", GhostBatchNorm(ghost_batch_size=2)), ARMS[2]), "arms that are new: ghost"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_one_difference_is_one_line(after, line):
    assert differences(after=after) == [line]


def test_what_every_arm_shares_stands_once():
    assert differences(new={"budget": Epochs(5)}) == ["arms.*.epochs: was 20, now 5"]
    both = differences(
        new={"decide_blocks": 2, "metrics": (LambdaMax(tolerance=0.1),)}, old={"metrics": (LambdaMax(),)}
    )
    assert both == ["decide_blocks: was 6, now 2", "lambda_max.tolerance: was 0.001, now 0.1"]
    assert differences(after=ARMS[:2]) == ["arms that are gone: sam"]
    rates = differences(new={"eta_over_b": None, "lr": 0.5})
    assert rates == ["arms.*.lr: was None, now 0.5", "arms.*.eta_over_b: was over(0.001, 0.1, log=True), now None"]
    assert differences() == []


def test_a_run_of_another_space_is_refused_in_so_many_lines():
    many = {f"lonely_{i}": Arm(f"lonely_{i}", batch_size=4) for i in range(20)}
    old = space(*ARMS, *many.values())
    refuse_changed("mine", description(old), description(old))
    changed = [replace_batch(arm) for arm in many.values()]
    with pytest.raises(RequestError) as caught:
        refuse_changed("mine", description(old), description(space(*ARMS, *changed)))
    (message,) = caught.value.problems
    lines = message.splitlines()
    assert "run 'mine' exists with another space" in lines[0]
    assert lines[1] == "  arms.lonely_0.batch_size: was 4, now 8"
    assert lines[-2:] == ["  and 8 more", "take another --name, or --fresh to delete what is there and start again"]
    assert len(lines) == MAX_LINES + 3


def replace_batch(arm: Arm) -> Arm:
    return Arm(arm.name, *arm.remedies, batch_size=8)


def test_more_configurations_are_no_other_space_and_fewer_are():
    few, many = space(*ARMS, num_samples=4), space(*ARMS, num_samples=9)
    refuse_changed("mine", description(few), description(many))
    with pytest.raises(RequestError, match="num_samples: was 9, now 4"):
        refuse_changed("mine", description(many), description(few))
    with pytest.raises(RequestError, match="candidates: was 5, now 2") as caught:
        refuse_changed("mine", description(few), description(space(*ARMS, num_samples=9, candidates=2)))
    assert "num_samples" not in str(caught.value)
