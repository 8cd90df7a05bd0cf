"""Random streams: what they depend on, and that they are independent."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
import torch

from tune_lb.streams import generator, seed_of


def test_a_seed_depends_on_every_part_of_the_key_and_on_its_place():
    keys = [("", 0, "order", 0), ("", 0, "order", 1), ("", 1, "order", 0), ("", 0, 1, "order"), ("placebo", 0, "order", 0)]
    keys += [("", 1, "order", 11), ("", 11, "order", 1), ("", "1order", "", 0)]
    seeds = [seed_of(*key) for key in keys]
    assert len(set(seeds)) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_seed_is_the_same_in_every_process():
    code = "from tune_lb.streams import seed_of; print(seed_of('', 3, 'order', 5))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(found) == seed_of("", 3, "order", 5)


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
