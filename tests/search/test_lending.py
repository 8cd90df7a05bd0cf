"""How many blocks an arm is confirmed in for those that take from it."""

from __future__ import annotations

from tests.tuning.test_taking import a_space, warm
from tune_lb.models.stored_weights import StoredWeights
from tune_lb.search.lending import blocks_to_lend
from tune_lb.space.arm import Arm
from tune_lb.space.designs import unchecked_designs
from tune_lb.space.observation import Watch


def test_an_arm_has_the_blocks_of_those_that_take_from_it():
    arms = Arm("last", initialization=StoredWeights(arm="warm", epoch=1)), warm("warm", 1), Arm("small"), Arm("plain")
    designs = unchecked_designs(a_space(*arms, watch=Watch(keep_weights=1)))
    wanted = {"last": 18, "warm": 12, "small": 6, "plain": 6}
    assert blocks_to_lend(wanted, designs) == {"last": 18, "warm": 18, "small": 18, "plain": 6}
