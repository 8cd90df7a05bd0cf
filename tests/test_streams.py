"""Random streams: what they depend on, and that they are independent."""

from __future__ import annotations

import hashlib
import itertools
import random

import numpy as np
import pytest
import torch

from tune_lb.streams import generator, global_state, seed_of


def test_a_seed_depends_on_every_part_of_the_key_and_on_its_place():
    keys = [
        ("", 0, "order", 0),
        ("", 0, "order", 1),
        ("", 1, "order", 0),
        ("", 0, 1, "order"),
        ("placebo", 0, "order", 0),
    ]
    keys += [("", 1, "order", 11), ("", 11, "order", 1), ("", "1order", "", 0)]
    seeds = [seed_of(*key) for key in keys]
    assert len(set(seeds)) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_seed_is_the_same_in_every_process():
    # 63 bits of the key's text: nothing of the process enters, as Python's own hash of a string does
    digest = hashlib.sha256(b"\x1f3\x1forder\x1f5").hexdigest()
    assert seed_of("", 3, "order", 5) == int(digest[:16], 16) // 2


def test_a_stream_is_fresh_every_time_and_leaves_the_global_one_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = torch.rand(5, generator=generator("a", 1))
    assert torch.equal(first, torch.rand(5, generator=generator("a", 1)))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("last", ["steps", "seeds"])
def test_neighbouring_streams_are_uncorrelated(last):
    keys = [("", 0, "noise", i) if last == "steps" else ("", i, "noise", 0) for i in range(8)]
    draws = torch.stack([torch.randn(4000, generator=generator(*key)) for key in keys])
    for i, j in itertools.combinations(range(8), 2):
        # five standard errors of a correlation of independent numbers
        assert abs(torch.corrcoef(draws[[i, j]])[0, 1]) < 5 / 4000**0.5


@pytest.fixture
def kept_generators():
    bits, state, before = np.random.get_bit_generator(), np.random.get_state(), random.getstate()
    yield
    np.random.set_bit_generator(bits)
    np.random.set_state(state)
    random.setstate(before)


DRAWS = {
    "nothing": (lambda: None, []),
    "torch": (lambda: torch.rand(1), ["torch"]),
    "python": (random.random, ["random"]),
    "a word": (lambda: np.random.rand(1), ["numpy.random"]),
    "one of a pair of normals": (lambda: np.random.randn(1), ["numpy.random"]),
    "the other one of it": (lambda: np.random.randn(1), ["numpy.random"]),
    "a pair": (lambda: np.random.randn(2), ["numpy.random"]),
    "a seed": (lambda: np.random.seed(3), ["numpy.random"]),
    "the same seed": (lambda: np.random.seed(3), []),
}


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.PCG64])
def test_who_draws_from_a_global_generator_is_seen_and_it_goes_on_from_where_it_was(kind, kept_generators):
    np.random.set_bit_generator(kind(5))
    for name, (draw, moved) in DRAWS.items():
        before = global_state()
        np.testing.assert_equal(before.numpy, np.random.get_state(legacy=False))
        draw()
        assert before.moved(global_state()) == moved, name
        after = global_state()
        before.put_back()
        assert before.moved(global_state()) == [], name
        np.testing.assert_equal(before.numpy, np.random.get_state(legacy=False))
        draw()
        assert after.moved(global_state()) == [], name
