"""Loss surfaces of trained members over a part of the data, as everything that looks at members needs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from tune_lb.data.device import Examples
from tune_lb.losses import LossFn
from tune_lb.surface.loss_surface import LossSurface
from tune_lb.surface.member_surfaces import Member, MemberSurfaces


def surface_over(module: nn.Module, member: Member, loss: LossFn, part: Examples, **options: Any) -> LossSurface:
    """Return the loss of a member (parameters, buffers) over a part of the data. options: see LossSurface."""
    options = {"transform": part.standardized_values, **options}
    return LossSurface(module, *member, loss, part.inputs, part.targets, **options)


def surfaces_over(
    module: nn.Module, members: Sequence[Member], loss: LossFn, part: Examples, **options: Any
) -> MemberSurfaces:
    """Return surface_over of several members of one network, which can be differentiated in the same passes."""
    options = {"transform": part.standardized_values, **options}
    return MemberSurfaces(module, members, loss, part.inputs, part.targets, **options)
