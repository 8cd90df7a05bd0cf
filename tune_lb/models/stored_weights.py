"""A start from stored weights: those of a member of a finished run, or of any file of that format."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from tune_lb.errors import RequestError
from tune_lb.settings.setting import Settings, setting

NO_WEIGHTS = ("dropout_key", "python_state", "back_propagated_deviation")
"""Ends of names under which a member's file holds what is drawn, counted or set anew by the member that starts from it."""


@dataclass(frozen=True)
class StoredWeights(Settings):
    """Start every member from one file: `initialization=StoredWeights("runs/NAME/weights/TRIAL.SEED.safetensors")`.

    A search stores the weights of every confirmed member there; the frame of members has the columns trial_id and seed.
    Parameters and batch-norm statistics are taken; draws and batches are those of the member that trains. Which file it is,
    is in the trial's identity by its content, not its place. Every machine of a cluster must reach the path.
    Source: Keskar et al., 2017, figure 5: many large-batch trainings from the iterates of one small-batch training.
    A network that a remedy changes starts from the weights of one that it changed likewise, or from those of the plain one.
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

    def __call__(self, module: nn.Module) -> None:
        """Copy the file's tensors over those of the module: the network as the file's was, remedies included."""
        self.into(module)

    @torch.no_grad()
    def into(self, module: nn.Module, needed: Collection[str] | None = None) -> None:
        """Copy the file's tensors over those of the module; needed: names that the file must have, None for all.

        A tensor that stands in several places (tied weights) may be in the file under any of its names. Buffers that are no part
        of a module's state (persistent=False) stay as the network made them where the file has none.
        """
        what, tensors = f"initialization = {self!r}", self._tensors()
        places = _places(module)
        own = {name: value for names, value, _ in places for name in names}
        lacking = [
            names[0]
            for names, _, is_kept in places
            if is_kept and not tensors.keys() & set(names) and (needed is None or set(names) & set(needed))
        ]
        unknown = sorted(name for name in tensors.keys() - own.keys() if not name.endswith(NO_WEIGHTS))
        kept = {name for names, _, is_kept in places if is_kept for name in names}
        shapes = sorted(name for name in kept & tensors.keys() if own[name].shape != tensors[name].shape)
        apart = [
            f"{first} and {other}"
            for names, _, _ in places
            for first, other in itertools.pairwise(name for name in names if name in tensors)
            if not _equal(tensors[first], tensors[other])
        ]
        for names, words in (
            (sorted(lacking), "lacks"),
            (unknown, "has, unlike the network,"),
            (shapes, "has another shape of"),
            (apart, "has different values of what is one tensor in the network,"),
        ):
            if names:
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                raise RequestError(f"{what}: it is of another network: the file {words} {names[0]}{more}")
        for names, value, _ in places:
            given = next((tensors[name] for name in names if name in tensors), None)
            if given is not None and given.shape == value.shape:
                value.copy_(given)

    def _tensors(self) -> dict[str, Tensor]:
        path, what = Path(self.path).expanduser(), f"initialization = {self!r}"
        if not path.is_file():
            raise RequestError(f"{what}: there is no such file; the weights of a run lie in runs/NAME/weights")
        contents = path.read_bytes()
        if hashlib.sha256(contents).hexdigest()[: len(self.content)] != self.content:
            raise RequestError(
                f"{what}: the file is not the one that the space was made with (it began {self.content})"
            )
        try:
            return dict(safetensors.torch.load(contents))
        except safetensors.SafetensorError as error:
            raise RequestError(f"{what}: the file is damaged or of another format: {error}") from error


def _places(module: nn.Module) -> list[tuple[list[str], Tensor, bool]]:
    """Return every parameter and buffer once: all its names, itself, and whether it is part of the module's state."""
    kept = module.state_dict(keep_vars=True).keys()
    found: dict[int, tuple[list[str], Tensor]] = {}
    everything = (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    )
    for name, value in everything:
        if not name.endswith(NO_WEIGHTS):
            found.setdefault(id(value), ([], value))[0].append(name)
    return [(names, value, bool(kept & set(names))) for names, value in found.values()]


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)
