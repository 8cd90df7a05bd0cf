"""Domains of ours are Ray's, and Ray's are ours."""

from __future__ import annotations

import pytest
from ray import tune
from ray.tune.search import sample

from tune_lb.errors import RequestError
from tune_lb.optimizers import LARS, SGD
from tune_lb.settings.domain import Choice, Domain, Interval, over
from tune_lb.tuning.ray_domains import from_ray, options, to_ray, value_of

DOMAINS = [
    over(0.0, 1.0),
    over(1e-4, 1e-1, log=True),
    over(1, 8, integer=True),
    over(1, 64, log=True, integer=True),
    over([20, 50, 100]),
    over(["constant", "cosine"]),
]


@pytest.mark.parametrize("domain", DOMAINS, ids=str)
def test_there_and_back_it_is_the_same(domain: Domain) -> None:
    assert from_ray(to_ray(domain)) == domain


@pytest.mark.parametrize("domain", DOMAINS, ids=str)
def test_ray_draws_what_is_in_it_up_to_its_ends(domain: Domain) -> None:
    drawn = {to_ray(domain).sample() for _ in range(300)}
    if isinstance(domain, Choice):
        assert drawn == set(domain.values)
    else:
        assert all(domain.low <= value <= domain.high for value in drawn)
        assert {type(value) for value in drawn} == {int if domain.integer else float}
        if domain.integer and domain.high == 8:
            assert drawn == set(range(1, 9)), "the upper end is among them"


def test_a_logarithmic_one_is_drawn_so() -> None:
    drawn = sorted(to_ray(over(1e-6, 1.0, log=True)).sample() for _ in range(500))
    assert 1e-4 < drawn[250] < 1e-2, "the middle of its logarithms is 1e-3, that of its values 0.5"


def test_a_grid_is_a_list() -> None:
    assert from_ray(tune.grid_search([1, 2])) == over([1, 2])
    assert from_ray(tune.randint(0, 5)) == Interval(0, 4, integer=True)


@pytest.mark.parametrize(
    "domain",
    [tune.randn(), tune.quniform(0, 1, 0.1), tune.sample_from(lambda spec: 1), 0.5],
    ids=("normal", "in steps", "function", "number"),
)
def test_what_has_no_counterpart_is_refused(domain: object) -> None:
    with pytest.raises(RequestError, match="has no counterpart among over"):
        from_ray(domain)


def test_what_a_searcher_cannot_hold_stands_there_as_text() -> None:
    domain = over([SGD(), LARS(), SGD(momentum=0.5)])
    assert options(domain) == ["SGD()", "LARS()", "SGD(momentum=0.5)"]
    assert isinstance(to_ray(domain), sample.Categorical)
    assert value_of(domain, "LARS()", "arm 'a': optimizer") == LARS()
    with pytest.raises(
        RequestError, match=r"arm 'a': optimizer = 'LARS' is none of 'SGD\(\)', 'LARS\(\)'.*did you mean"
    ):
        value_of(domain, "LARS", "arm 'a': optimizer")
