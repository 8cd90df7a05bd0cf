"""A start from stored weights: of a member of a finished run, of any file of that format, or of another arm of the same run."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from tune_lb.errors import RequestError
from tune_lb.settings.setting import Settings, setting
from tune_lb.settings.taken import Taken, TakesFromArm, whole_numbers

NO_WEIGHTS = ("dropout_key", "python_state", "back_propagated_deviation")
"""Ends of names under which a member's file holds what is drawn, counted or set anew by the member that starts from it."""


@dataclass(frozen=True)
class StoredWeights(Settings, TakesFromArm):
    """Start every member from one file: `initialization=StoredWeights("runs/NAME/weights/TRIAL.SEED.safetensors")`; or each from
    where a member of another arm was: `StoredWeights(arm="small_batch", epoch=5)`.

    A search stores the weights of every confirmed member there; the frame of members has the columns trial_id and seed.
    Parameters and batch-norm statistics are taken; draws and batches are those of the member that trains. Which file it is,
    is in the trial's identity by its content, not its place. Every machine of a cluster must reach the path.
    Source: Keskar et al., 2017, figure 5: many large-batch trainings from the iterates of one small-batch training.
    With an arm a member starts from the weights that the arm's member of the same block and seed had after so many epochs, as it
    trained on from them (no average, batch-norm statistics as they ran), and goes on as a phase does that stands before: with
    the optimiser and the schedule anew. That member is trained once, whatever starts from it, and first; Watch(keep_weights=...)
    keeps its weights. The epoch may be searched: `epoch=over([1, 5, 20])`.
    A network that a remedy changes starts from the weights of one that it changed likewise, or from those of the plain one.
    Raises RequestError, before anything is trained, where the file is missing, damaged, or of another network, where the arm has
    another network, or where its weights are not kept at that epoch.
    """

    path: str = setting("", "a .safetensors file with every parameter and buffer by name")
    content: str = field(
        default="",
        repr=False,
        metadata={"description": "first digits of the file's SHA-256: which weights it holds, wherever it lies"},
    )
    """First digits of the file's SHA-256; found out where it is not given, and held to where it is."""
    arm: str = setting(
        "", "arm of the same run whose weights a member starts from, in place of a file", added_later=True
    )
    epoch: int = setting(0, "epochs of that arm's training after which; 0: its start", low=0, added_later=True)

    def __post_init__(self) -> None:
        path = Path(self.path).expanduser()
        if not self.content and path.is_file():
            object.__setattr__(self, "content", hashlib.sha256(path.read_bytes()).hexdigest()[:16])

    def problems(self, where: str = "") -> list[str]:
        """Also refuse a file and an arm at once, or neither."""
        found, place = super().problems(where), where or "StoredWeights"
        if bool(self.path) == bool(self.arm):
            found.append(f"{place}: give a path, or an arm of the same run with an epoch, one of them")
        elif self.path and self.epoch:
            found.append(f"{place}.epoch = {self.epoch}: a file is of one moment; an epoch goes with an arm")
        return found

    def takes(self) -> Taken | None:
        """Return which arm's weights, after which epochs."""
        return Taken(self.arm, whole_numbers(self.epoch)) if self.arm else None

    def at_start(self) -> StoredWeights:
        """Return the start from an arm's own start; from a file as it is."""
        return dataclasses.replace(self, epoch=0)

    def __call__(self, module: nn.Module) -> None:
        """Copy the file's tensors over those of the module: the network as the file's was, remedies included."""
        self.into(module)

    def into(self, module: nn.Module, needed: Collection[str] | None = None) -> None:
        """Copy the file's tensors over those of the module; needed: names that the file must have, None for all.

        A tensor that stands in several places (tied weights) may be in the file under any of its names. Buffers that are no part
        of a module's state (persistent=False) stay as the network made them where the file has none. An arm's weights are not known
        before its member is trained: until then a network stays as it was drawn.
        """
        if self.path:
            copy_weights(self._tensors(), module, f"initialization = {self!r}", needed)

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


@torch.no_grad()
def copy_weights(
    tensors: Mapping[str, Tensor], module: nn.Module, what: str, needed: Collection[str] | None = None
) -> None:
    """Copy tensors by name over those of a module, as StoredWeights.into does. what: stands before what is wrong with them."""
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
