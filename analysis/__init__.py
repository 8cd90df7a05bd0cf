"""Tables, figures and the report of a run: frames -> tables -> figures -> report. Needs neither torch nor Ray."""

from __future__ import annotations

from analysis.loading import load
from analysis.results import Results

__all__ = ["Results", "load"]
