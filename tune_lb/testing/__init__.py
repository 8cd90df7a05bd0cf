"""Conformance suites: the laws that our own remedies and metrics are held to, for a user's own.

from tune_lb.testing import check_metric, check_remedy

def test_my_remedy():
    check_remedy(Smoothing(epsilon=0.1))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tune_lb.lazy import face

if TYPE_CHECKING:
    from tune_lb.testing.metric_laws import check_metric as check_metric
    from tune_lb.testing.remedy_laws import check_remedy as check_remedy
    from tune_lb.testing.small_training import small_trial as small_trial

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "tune_lb.testing.metric_laws": "check_metric",
        "tune_lb.testing.remedy_laws": "check_remedy",
        "tune_lb.testing.small_training": "small_trial",
    },
)
