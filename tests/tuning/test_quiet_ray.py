"""Ray as searches use it does nothing that nobody asked for."""

from __future__ import annotations

import sys

import pytest
from ray.air._internal import usage

from tune_lb.tuning.quiet_ray import tune


def test_counting_callbacks_for_a_report_that_is_off_imports_no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mlflow", "wandb"):
        monkeypatch.delitem(sys.modules, f"ray.air.integrations.{name}", raising=False)
    usage.tag_callbacks([tune.Callback()])
    assert not {"ray.air.integrations.mlflow", "ray.air.integrations.wandb"} & sys.modules.keys()
