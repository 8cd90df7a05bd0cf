"""Digits are scikit-learn's, whether its file is read or it is asked."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tune_lb.data import digits


@pytest.mark.parametrize("has_file", [True, False])
def test_the_digits_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch, has_file: bool) -> None:
    if not has_file:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    read, expected = digits._read(), load_digits()
    np.testing.assert_array_equal(read.train.inputs.reshape(-1, 64), expected.data)
    np.testing.assert_array_equal(read.train.targets, expected.target)
