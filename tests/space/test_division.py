"""How members are divided: as studied, in proportion between, all of them used."""

from __future__ import annotations

import pytest

from tests.space.test_space import space
from tune_lb.errors import RequestError
from tune_lb.space.description import space_hash
from tune_lb.space.division import FEWEST, divided
from tune_lb.space.until import Until

# members an arm; n, q, r, confirm blocks x seeds: the table of the study
TABLE = {
    92: (24, 5, 6, 38, 1),
    78: (24, 5, 6, 24, 1),
    64: (20, 4, 6, 20, 1),
    40: (16, 3, 4, 12, 1),
    20: (8, 2, 2, 8, 1),
}


@pytest.mark.parametrize("members", TABLE)
def test_the_table_is_met(members):
    assert divided(members) == TABLE[members]


@pytest.mark.parametrize("members", [*range(FEWEST, 120), 200, 500, 2000])
def test_all_members_are_used_and_every_stage_can_do_its_work(members):
    n, q, r, blocks, seeds = divided(members)
    decided = q * r if q > 1 else 0
    assert n + decided + blocks * seeds == members
    assert 2 <= n <= 25
    assert 1 <= q <= n
    assert blocks >= 3
    assert seeds == 1
    assert r >= (2 if q > 1 else 1), "two blocks show how sure a decision is"


def test_stages_grow_with_the_members():
    stages = [(n, q * r if q > 1 else 0, blocks * seeds) for n, q, r, blocks, seeds in map(divided, range(20, 400))]
    for (n, decided, confirmed), (n_, decided_, confirmed_) in zip(stages, stages[8:], strict=False):
        assert n_ >= n - 1
        assert decided_ >= decided
        assert confirmed_ >= confirmed - 12


def test_beyond_what_was_studied_search_stays_and_the_rest_is_doubled():
    n, q, r, blocks, seeds = divided(184)
    assert (n, q, r, seeds) == (24, 5, 12, 1)
    assert blocks == 184 - 24 - 60


@pytest.mark.parametrize(
    ("members", "message"), [(3, "at least 6"), (-1, "at least 6"), ("20", "whole number"), (True, "whole number")]
)
def test_what_cannot_be_divided_is_one_line(members, message):
    with pytest.raises(RequestError, match=message):
        divided(members)


FIELDS = ("num_samples", "candidates", "decide_blocks", "confirm_blocks", "block_seeds")


def numbers(of):
    return tuple(getattr(of, name) for name in FIELDS)


def test_a_space_is_divided_when_it_is_made_and_by_an_override():
    given = space(members_per_arm=40)
    assert numbers(given) == TABLE[40]
    assert given.members_per_arm is None
    by_hand = space(**dict(zip(FIELDS, TABLE[40], strict=True)))
    assert space_hash(given) == space_hash(by_hand), "a space says its numbers, whoever made them"
    asked = space(num_samples=7).overridden([("members_per_arm", 20), ("block_seeds", 3)])
    assert numbers(asked) == (8, 2, 2, 8, 3), "what is given beside it holds"


def test_numbers_and_what_they_are_divided_from_are_not_given_together():
    with pytest.raises(RequestError, match="members_per_arm = 40 says what num_samples, confirm_blocks are"):
        space(members_per_arm=40, num_samples=7, confirm_blocks=Until())
    with pytest.raises(RequestError, match="at least 6"):
        space().overridden([("members_per_arm", 3)])
