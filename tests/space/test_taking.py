"""What is refused of arms that take from others, before any data are read."""

from __future__ import annotations

import pytest

from tests.tuning.test_taking import KEEPING, a_space, warm
from tune_lb.models.stored_weights import StoredWeights
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.settings.domain import over
from tune_lb.space.arm import Arm
from tune_lb.space.checks import space_problems
from tune_lb.space.designs import unchecked_designs
from tune_lb.space.observation import Watch
from tune_lb.space.taking import lenders, lenders_of

SMALL = Arm("small", batch_size=4)


@pytest.mark.parametrize(
    ("arms", "watch", "line"),
    [
        (
            (warm("warm", 1), Arm("smal", batch_size=4)),
            KEEPING,
            "arm 'warm' takes from 'small', which is not an arm of the space; did you mean 'smal'?",
        ),
        (
            (warm("warm", 1), SMALL),
            None,
            "arm 'warm' takes weights of arm 'small', which keeps none: give the space watch=Watch(keep_weights=...), the epochs",
        ),
        (
            (warm("warm", 1), SMALL),
            Watch(),
            "arm 'warm' takes weights of arm 'small', which keeps none: give the space watch=Watch(keep_weights=...), the epochs",
        ),
        (
            (warm("warm", 1), SMALL, Arm("other")),
            Watch(keep_weights=1, keep_weights_of=("other",)),
            "arm 'warm' takes weights of arm 'small', which is not in the watch's keep_weights_of: add it",
        ),
        (
            (warm("warm", 3), SMALL),
            KEEPING,
            "arm 'warm' takes the weights that arm 'small' has after epoch 3, and Watch(keep_weights=(1, 2)) "
            "does not keep them: add the epoch, or take another",
        ),
        ((warm("small", 1),), Watch(keep_weights=1), "arm 'small' takes from itself; name another arm"),
        (
            (warm("one", 1), Arm("small", initialization=StoredWeights(arm="one", epoch=1))),
            Watch(keep_weights=1),
            "arms take from each other in a circle (one -> small -> one), so none could begin; leave one out",
        ),
    ],
)
def test_what_is_refused_and_why(arms, watch, line):
    assert space_problems(a_space(*arms, watch=watch)) == [line]


def test_circles_go_through_arms_that_combine_others():
    noise = GradientNoise(alpha=over(1e-6, 1e-2, log=True))
    arms = (
        Arm("noisy", noise, combines=("warm",)),
        warm("warm", 1),
        Arm("small", noise, combines=("noisy",), batch_size=4),
    )
    (line,) = [line for line in space_problems(a_space(*arms, watch=Watch(keep_weights=1))) if "circle" in line]
    assert "noisy -> warm -> small" in line


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (StoredWeights(), "give a path, or an arm"),
        (StoredWeights("w.safetensors", arm="small"), "give a path, or an arm"),
        (StoredWeights("w.safetensors", epoch=2), "a file is of one moment"),
        (StoredWeights(arm="small", epoch=-1), "must be at least 0"),
    ],
)
def test_a_start_is_a_file_or_an_arm(start, words):
    (line,) = start.problems()
    assert words in line


@pytest.mark.parametrize(
    ("watch", "words"),
    [
        (Watch(keep_weights=0), "must be at least 1"),
        (Watch(keep_weights=(1, -2)), "epochs are counted from 0"),
        (Watch(keep_weights_of=("small",)), "keep_weights no epochs"),
        (Watch(metrics=()), "no metric is given"),
    ],
)
def test_what_a_watch_cannot_keep(watch, words):
    (line,) = watch.problems()
    assert words in line


def test_who_lends_to_whom():
    arms = Arm("last", initialization=StoredWeights(arm="warm", epoch=1)), warm("warm", 1), SMALL, Arm("plain")
    designs = unchecked_designs(a_space(*arms, watch=Watch(keep_weights=1)))
    assert lenders(designs) == {"warm": {"lent", "confirm"}, "small": {"lent", "confirm"}}
    assert [sorted(lenders_of(arm, designs)) for arm in ("last", "warm", "plain")] == [["small", "warm"], ["small"], []]
