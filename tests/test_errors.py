"""Whatever code of the user's raises is one line with its place."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pytest
from torch import nn

from tune_lb.errors import RequestError, defined_at, one_line, user_code


def make(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Linear(*shape)


@dataclass(frozen=True)
class Maker:
    def __call__(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Linear(*shape)


def test_where_a_network_is_made() -> None:
    place = f"{__file__}:{make.__code__.co_firstlineno}"
    assert defined_at(make) == place
    assert defined_at(functools.partial(make, classes=3)) == place
    assert defined_at(Maker()) == f"{__file__}:{Maker.__call__.__code__.co_firstlineno}"
    assert defined_at(nn.functional.cross_entropy) == ""
    assert defined_at(3) == ""


def test_what_colors_or_moves_in_a_terminal_is_left_out() -> None:
    said = (
        "\x1b[1;31mred\x1b[0m \x1b]0;title\x07\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\ up\x1b[2A a\rb\x00c \x1bM\u00fc"
    )
    assert one_line(ValueError(said)) == "ValueError: red link up a b c \u00fc"


def test_one_line_for_anything() -> None:
    assert one_line(ValueError("a\n  b"), "here.py:3") == "ValueError: a b (here.py:3)"
    assert one_line(KeyError(), "") == "KeyError"
    place = rf"arm 'a': ZeroDivisionError: by zero \({__file__}:\d+\)$"
    with pytest.raises(RequestError, match=place), user_code("arm 'a'"):
        raise ZeroDivisionError("by zero")
    with pytest.raises(RequestError, match=r"^as it is$"), user_code("arm 'a'"):
        raise RequestError("as it is")
    with pytest.raises(RequestError, match="arm 'a': SystemExit: 3"), user_code("arm 'a'"):
        raise SystemExit(3)
    with pytest.raises(KeyboardInterrupt), user_code("arm 'a'"):
        raise KeyboardInterrupt
