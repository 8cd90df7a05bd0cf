import numpy as np
import pytest
from scipy import stats

from tune_lb.inference.looks import is_known, least_half_width, looks, obrien_fleming


@pytest.mark.parametrize(
    ("number", "constant"), [(1, 1.960), (2, 1.977), (3, 2.004), (4, 2.024), (5, 2.040), (10, 2.087)]
)
def test_obrien_and_flemings_constants(number, constant):
    """Jennison and Turnbull (2000), table 2.3: C_B(K, 0.05), boundary C sqrt(K / k)."""
    bounds = stats.norm.isf(obrien_fleming(range(1, number + 1)) / 2)
    assert bounds * np.sqrt(np.arange(1, number + 1) / number) == pytest.approx(np.full(number, constant), abs=6e-4)


def test_unequal_steps_hold_the_level_in_simulated_walks():
    blocks = [10, 14, 30, 60]
    walks = np.random.default_rng(0).normal(size=(40_000, 60)).cumsum(axis=1)
    z = np.abs(walks[:, np.array(blocks) - 1]) / np.sqrt(blocks)
    assert np.mean((2 * stats.norm.sf(z) <= obrien_fleming(blocks)).any(axis=1)) == pytest.approx(0.05, abs=0.004)


@pytest.mark.parametrize("blocks", [[0, 5], [5, 5], [9, 3]])
def test_looks_that_do_not_go_on_are_refused(blocks):
    with pytest.raises(ValueError, match="more and more blocks"):
        obrien_fleming(blocks)


def test_the_numbers_of_blocks():
    assert looks(20) == [10, 14, 18, 20]
    assert looks(10) == [10]
    assert looks(4) == [4]


def test_an_arm_is_known_at_its_width_or_when_the_search_alone_is_wider():
    assert is_known(0.002, 0.002)
    assert not is_known(0.0021, 0.002)
    assert is_known(0.004, 0.002, selection=(0.002 / 2.2) ** 2)
    assert not is_known(0.004, 0.002, selection=(0.002 / 2.25) ** 2)
    assert least_half_width(1e-6, family=5) == pytest.approx(stats.t.ppf(0.995, 10) * 1e-3)
