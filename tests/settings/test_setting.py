"""Settings and domains: what is said about wrong values, and what a domain contains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tune_lb.optimizers.elementwise import SGD, Adam
from tune_lb.optimizers.settings import OptimizerSettings
from tune_lb.remedies.sam import SAM
from tune_lb.settings.domain import Choice, Interval, over
from tune_lb.settings.identity import identity
from tune_lb.settings.setting import Settings, setting


@dataclass(frozen=True)
class Sample(Settings):
    """One field of every kind."""

    number: float = setting(1.0, "a number", low=0.0, below=2.0)
    count: int | None = setting(3, "a count", low=1, high=9)
    flag: bool = setting(True, "a switch")
    word: str = setting("alone", "a word", one_of=("alone", "together"))
    sizes: tuple[int, ...] = (1, 2)
    part: OptimizerSettings = SGD()  # noqa: RUF009
    call: Callable[[int], int] = abs


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("number", -0.1, "at least 0"),
        ("number", 2.0, "below 2"),
        ("number", "1", "must be a number, not '1'"),
        ("number", True, "must be a number"),
        ("number", None, "must be a number"),
        ("number", math.nan, "finite"),
        ("number", math.inf, "finite"),
        ("count", 0, "at least 1"),
        ("count", 10, "at most 9"),
        ("count", 2.0, "a whole number or None, not 2.0"),
        ("count", True, "a whole number"),
        ("flag", 1, "True or False"),
        ("word", "alonee", "did you mean 'alone'?"),
        ("word", 3, "a string"),
        ("sizes", 5, "tuple"),
        ("part", "sgd", "OptimizerSettings"),
        ("call", 5, "Callable"),
        ("number", over(-1.0, 1.0), "at least 0"),
        ("number", over([0.5, 3.0]), "below 2"),
        ("number", over([0.5, "x"]), "a number"),
        ("number", over(1.5, 0.5), "the first end must be below the second"),
        ("number", over(0.0, 1.0, log=True), "begins above 0"),
        ("number", over([0.5, 0.5]), "listed twice"),
        ("number", over([]), "empty"),
        # drawn from such a range, a count would not be whole
        ("count", over(2, 8), "a whole number"),
        ("count", over(0, 8, integer=True), "at least 1"),
    ],
)
def test_a_wrong_value_gets_a_line_that_names_field_value_and_rule(field, value, words):
    lines = Sample(**{field: value}).problems("here")
    assert lines
    assert all(line.startswith(f"here.{field}") for line in lines)
    assert words in lines[0]


def test_all_mistakes_are_reported_together_and_none_without_one():
    assert len(Sample(number=-1, count=0, flag=3, word="x").problems()) == 4
    fine = Sample(number=over(0.0, 1.5), count=over(1, 9, integer=True), flag=over([True, False]), sizes=(4,))
    assert fine.problems() == []
    assert Sample(number=1, count=None, part=Adam(), call=lambda x: x).problems() == []
    assert fine.dimensions().keys() == {"number", "count", "flag"}


def test_resolved_puts_values_in_place_and_refuses_unknown_names():
    assert SAM(rho=over(0.1, 0.5), m=4).resolved({"rho": 0.3}) == SAM(rho=0.3, m=4)
    with pytest.raises(TypeError, match=r"no field 'rh'; did you mean 'rho'\?"):
        SAM().resolved({"rh": 1.0})


@pytest.mark.parametrize(("low", "high"), [(1e-4, 1e-2), (1e-5, 5.0), (0.05, 0.1), (5.0, 1e5), (0.02, 1.0)])
@pytest.mark.parametrize("log", [False, True])
def test_an_interval_holds_its_ends_and_nothing_outside(low, high, log):
    interval = over(low, high, log=log)
    fractions = [0.0, *(i / 997 for i in range(997)), 1 - 2**-53]
    values = [interval.at(u) for u in fractions]
    assert low <= min(values) <= low * (1 + 1e-12)
    assert high * (1 - 1e-12) <= max(values) <= high
    assert values == sorted(values)
    middle = math.sqrt(low * high) if log else (low + high) / 2
    assert interval.at(0.5) == pytest.approx(middle, rel=1e-12)


@pytest.mark.parametrize("log", [False, True])
def test_whole_numbers_each_have_their_share(log):
    values = [over(1, 6, integer=True, log=log).at((i + 0.5) / 60_000) for i in range(60_000)]
    assert {type(value) for value in values} == {int}
    for number in range(1, 7):
        share = math.log((number + 0.5) / (number - 0.5)) / math.log(13) if log else 1 / 6
        assert values.count(number) / 60_000 == pytest.approx(share, abs=1e-3)


def test_each_choice_has_the_same_share():
    choice = over([None, 20, "all"])
    values = [choice.at((i + 0.5) / 300) for i in range(300)]
    assert [values.count(value) for value in (None, 20, "all")] == [100, 100, 100]
    assert choice.at(1 - 2**-53) == "all"


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((1,), {}),
        (([1, 2], 3), {}),
        (([1, 2],), {"log": True}),
        ((1.5, 3), {"integer": True}),
        ((1, math.inf), {"integer": True}),
        ((1, "3"), {}),
        (("ab",), {}),
        (("a", "b"), {}),
    ],
)
def test_over_refuses_what_is_neither_a_range_nor_a_list(arguments, options):
    with pytest.raises(TypeError, match="over"):
        over(*arguments, **options)


def test_domains_as_json_and_text():
    assert over(1e-4, 0.1, log=True).as_json() == {"low": 1e-4, "high": 0.1, "log": True, "integer": False}
    assert over([20, None]).as_json() == {"values": [20, None]}
    assert [str(d) for d in (Interval(0.001, 1, log=True), Choice((1, 2)))] == ["0.001 .. 1 (log)", "{1, 2}"]


@dataclass(frozen=True)
class Grown(Settings):
    """One field as of old, and one that came when trials were stored."""

    old: float = setting(1.0, suggested=over(0.5, 2.0))
    new: float = setting(0.0, added_later=True)


def test_a_field_added_later_leaves_identities_as_they_were():
    assert identity(Grown()) == {"type": "tests.settings.test_setting.Grown", "old": 1}
    assert identity(Grown(new=0.5)) == {"type": "tests.settings.test_setting.Grown", "old": 1, "new": 0.5}
    assert identity(Grown(old=1.0)) != identity(Grown(old=2.0))


def test_what_is_worth_searching_is_said_with_the_field():
    assert Grown.suggested() == {"old": over(0.5, 2.0)}
