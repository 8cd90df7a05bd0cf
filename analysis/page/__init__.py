"""The report as one page of HTML that opens from disk and asks nothing of anybody."""

from __future__ import annotations

from analysis.page.rendering import Looks, page

__all__ = ["Looks", "page"]
