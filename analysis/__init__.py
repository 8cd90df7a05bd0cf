"""Tables, figures and the report of a run: frames -> tables -> figures -> report. Needs neither torch nor Ray."""

from __future__ import annotations

from analysis.results import Results, load

__all__ = ["Results", "load"]
