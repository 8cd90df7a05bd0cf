"""Dimensions as space.json has them: which of them are there in a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_there(domain: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Say whether a dimension is there in a row: one of a list of parts is where the row has its alternative."""
    only = domain.get("only")
    return only is None or row.get(only["name"]) in only["values"]
