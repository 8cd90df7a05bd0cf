"""Checkpoints as files: tensors by name, and a state beside them as JSON. No pickle is written or read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
from torch import Tensor

from tune_lb.results.wholeness import NOTE


def encoded(tensors: Mapping[str, Tensor], state: Any) -> bytes:
    """Return a checkpoint as the contents of a file, with room for its checksum."""
    return safetensors.torch.save(dict(tensors), metadata={"state": json.dumps(state), **NOTE})


def decoded(contents: bytes) -> tuple[dict[str, Tensor], Any]:
    """Return the tensors and the state of such a file. What it raises depends on what is damaged in it."""
    tensors = safetensors.torch.load(contents)
    length = int.from_bytes(contents[:8], "little")
    return tensors, json.loads(json.loads(contents[8 : 8 + length])["__metadata__"]["state"])
