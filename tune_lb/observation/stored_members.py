"""Members of a finished run with their weights: what can be measured without training again."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from tune_lb.data.device import OnDevice, Parts
from tune_lb.data.splits import Splits
from tune_lb.errors import RequestError, user_code
from tune_lb.observation.surfaces import surfaces_over
from tune_lb.results.damage import set_aside
from tune_lb.results.locations import DamagedError, StorageError, reason_of
from tune_lb.results.storage import Store
from tune_lb.settings.domain import Choice
from tune_lb.settings.identity import describe
from tune_lb.settings.setting import Settings
from tune_lb.space.checks import checked_designs
from tune_lb.space.data_sets import source_name
from tune_lb.space.designs import ArmDesign
from tune_lb.space.space import Space
from tune_lb.surface.loss_surface import LossSurface
from tune_lb.surface.member_surfaces import MemberSurfaces
from tune_lb.surface.swapped import PYTHON_STATE
from tune_lb.training.evaluation import recalibrated
from tune_lb.training.gradient import DROPOUT_KEY
from tune_lb.training.python_state import carrying_state
from tune_lb.training.trial import Trial
from tune_lb.training.trial_columns import as_value, part_columns

SUFFIX = ".safetensors"

TOLERANCE = 1e-3
"""Largest relative difference between the loss in a member's row and that of its weights, which other hardware explains."""


@dataclass(frozen=True)
class StoredMember:
    """A member as it was stored: its trial, a fresh network of its shape, its parameters and buffers, and its data."""

    trial: Trial
    module: nn.Module
    params: dict[str, Tensor]
    buffers: dict[str, Tensor]
    parts: Parts

    def surface(self, split: str) -> LossSurface:
        """Return the loss over a part of the data (train, validation, test), batch norm recalibrated on the train set."""
        return member_surfaces([self], split).surfaces[0]


class StoredMembers:
    """The stored weights of a run, read back with the space that it was made of."""

    def __init__(self, run: Store, space: Space, device: torch.device | str) -> None:
        self.run, self.weights, self.space, self.device = run, run.child("weights"), space, device
        self.designs: dict[str, ArmDesign] = {design.name: design for design in checked_designs(space)}
        self._splits: dict[str, Splits] = {}
        self._on_device = OnDevice(device)

    def stored(self, rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return those rows of the members table whose weights are there."""
        names = set(self.weights.list(suffix=SUFFIX))
        return [row for row in rows if f"{row['trial_id']}.{row['seed']}{SUFFIX}" in names]

    def member(self, row: Mapping[str, Any]) -> StoredMember:
        """Return the member of a row. Raises RequestError where its file is damaged (it is set aside) or of another network."""
        name = f"{row['trial_id']}.{row['seed']}{SUFFIX}"
        try:
            tensors = safetensors.torch.load(self.weights.read(name))
        except (DamagedError, safetensors.SafetensorError) as error:
            # on storage that cannot be written it is said all the same
            with contextlib.suppress(StorageError):
                set_aside(self.run, f"weights/{name}")
            again = "the same `search` trains this member again, and keeps its weights"
            raise RequestError(f"{self.weights.location}/{name} is damaged: {reason_of(error)}; {again}") from error
        trial = self.trial(row)
        parts = self.parts(trial)
        where = f"arm {trial.arm!r}, model {describe(trial.model)}"
        with torch.random.fork_rng(devices=[]), user_code(where, made_by=trial.model):
            module = trial.network(parts.input_shape, parts.num_classes).to(self.device).eval()
        if PYTHON_STATE in tensors:
            module = carrying_state(module)
        params = {key: tensors.pop(key).to(self.device) for key, _ in module.named_parameters() if key in tensors}
        expected = dict(module.named_parameters()) | dict(module.named_buffers())
        # no part of a member: a run made before its network's dropout was keyed has none
        keys = {key: value for key, value in expected.items() if key.endswith(DROPOUT_KEY)}
        buffers = keys | {key: value.to(self.device) for key, value in tensors.items()}
        found = params | buffers
        wrong = [
            key
            for key, own in expected.items()
            if key != PYTHON_STATE and (key not in found or found[key].shape != own.shape)
        ]
        if wrong or len(found) > len(expected):
            odd = (wrong or sorted(found.keys() - expected.keys()))[0]
            raise RequestError(
                f"{self.weights.location}/{name} is of another network than {describe(trial.model)}: {odd}"
            )
        return StoredMember(trial, module, params, buffers, parts)

    def trial(self, row: Mapping[str, Any]) -> Trial:
        """Return the trial that a row of the members table was made of."""
        if row["arm"] not in self.designs:
            raise RequestError(f"the space has no arm {row['arm']!r}")
        return trial_of(self.designs[row["arm"]], row)

    def parts(self, trial: Trial) -> Parts:
        """Return the data of a trial on the device."""
        splits = self._splits.setdefault(source_name(trial.data), Splits(trial.data))
        return self._on_device.parts(splits[trial.split_seed])


def member_surfaces(members: Sequence[StoredMember], split: str) -> MemberSurfaces:
    """Return StoredMember.surface of several members of one trial, which can be measured in the same passes."""
    first = members[0]
    part = getattr(first.parts, split)
    if not len(part):
        raise RequestError(f"the run has no {split} examples")
    pairs = [(own.params, recalibrated(first.module, own.params, own.buffers, first.parts.train)) for own in members]
    return surfaces_over(first.module, pairs, first.trial.example_loss, part, split=split)


def differs(surface: LossSurface, stated: float | None) -> str | None:
    """Say how the loss of a surface differs from the one in the member's row, or None where it does not."""
    if stated is None:
        return None
    found = surface.value()
    if abs(found - stated) <= TOLERANCE * max(abs(stated), 1e-2) or found != found:
        return None
    return f"its weights have {surface.split} loss {found:.6g}, its row says {stated:.6g}: model, loss or data are not the run's"


def trial_of(design: ArmDesign, row: Mapping[str, Any]) -> Trial:
    """Return the trial that a row of the members table of an arm was made of."""
    template = copy.copy(design.template)
    values = {name: _value(name, domain, row) for name, domain in template.dimensions().items()}
    found = template.resolved(values | {"split_seed": row["split_seed"]})
    # the row has the rate as remedies scale it
    if "lr" in values and found.lr is not None and found.learning_rate != found.lr:
        found = found.resolved({"lr": found.lr * found.lr / found.learning_rate})
    return found


def _value(name: str, domain: Any, row: Mapping[str, Any]) -> Any:
    """Return a searched value from a row, where what is no number stands as text, and an optimizer as the name of its type."""
    stored = row.get(name)
    if not isinstance(domain, Choice) or not isinstance(stored, str):
        return stored
    meant = [option for option in domain.to_check() if stored in (describe(option), type(option).__name__)]
    # of two of one type, the one whose fields the row has
    return next((option for option in meant if len(meant) == 1 or _has_fields(row, name, option)), stored)


def _has_fields(row: Mapping[str, Any], name: str, part: Any) -> bool:
    columns = part_columns(name, part) if isinstance(part, Settings) else {}
    return all(row.get(column) == as_value(getattr(part, field)) for column, field in columns.items())
