"""A start from stored weights: those of a member of a finished run, or of any file of that format."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from tune_lb.errors import RequestError
from tune_lb.settings.setting import Settings, setting


@dataclass(frozen=True)
class StoredWeights(Settings):
    """Start every member from one file: `initialization=StoredWeights("runs/NAME/weights/TRIAL.SEED.safetensors")`.

    A search stores the weights of every confirmed member there; the frame of members has the columns trial_id and seed.
    Parameters and batch-norm statistics are taken; draws and batches are those of the member that trains. Which file it is,
    is in the trial's identity by its content, not its place. Every machine of a cluster must reach the path.
    Source: Keskar et al., 2017, figure 5: many large-batch trainings from the iterates of one small-batch training.
    Raises RequestError, before anything is trained, where the file is missing, damaged, or of another network.
    """

    path: str = setting(description="a .safetensors file with every parameter and buffer by name")
    content: str = field(
        default="",
        repr=False,
        metadata={"description": "first digits of the file's SHA-256: which weights it holds, wherever it lies"},
    )
    """First digits of the file's SHA-256; found out where it is not given, and held to where it is."""

    def __post_init__(self) -> None:
        path = Path(self.path).expanduser()
        if not self.content and path.is_file():
            object.__setattr__(self, "content", hashlib.sha256(path.read_bytes()).hexdigest()[:16])

    @torch.no_grad()
    def __call__(self, module: nn.Module) -> None:
        """Copy the file's tensors over those of the module."""
        path, what = Path(self.path).expanduser(), f"initialization = {self!r}"
        if not path.is_file():
            raise RequestError(f"{what}: there is no such file; the weights of a run lie in runs/NAME/weights")
        contents = path.read_bytes()
        if hashlib.sha256(contents).hexdigest()[: len(self.content)] != self.content:
            raise RequestError(
                f"{what}: the file is not the one that the space was made with (it began {self.content})"
            )
        try:
            tensors = safetensors.torch.load(contents)
        except safetensors.SafetensorError as error:
            raise RequestError(f"{what}: the file is damaged or of another format: {error}") from error
        own = dict(module.state_dict())
        missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
        shapes = sorted(name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape)
        for names, words in (
            (missing, "lacks"),
            (unknown, "has, unlike the network,"),
            (shapes, "has another shape of"),
        ):
            if names:
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                raise RequestError(f"{what}: it is of another network: the file {words} {names[0]}{more}")
        for name, value in own.items():
            value.copy_(tensors[name])
