"""Ghost batch normalization, vectorised over the groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.pieces import divisors
from tune_lb.training.remedy import Remedy, TrialFacts
from tune_lb.training.stacked_batch_norm import batch_norm

STATISTICS = ("average", "sequential", "scaled")


@dataclass(frozen=True)
class GhostBatchNorm(Remedy):
    """Normalise each group of the batch with statistics of its own, as if the batch were small.

    Training only: example i belongs to group i mod S, S = B / g; every group is normalised with its own mean and (biased)
    variance, scale and shift are shared. Evaluation uses the running statistics, which the S groups' means and unbiased
    variances update with the layer's momentum m:
    statistics "average": once, with their average; "sequential": S times, one group after the other, as Hoffer's code does,
    run <- (1 - m)^S run + sum_i m (1 - m)^(S - 1 - i) group_i; "scaled": the same with m / S in place of m. Effective momentum
    at m = 0.1, S = 32: 0.1, 0.966 (all but the last groups forgotten) and 0.095. Evaluation here recomputes the statistics
    anyway; what is left of the difference is the error with running statistics.

    Source: Hoffer, Hubara and Soudry, 2017, algorithm 1. Departures: strided groups, the same in law for shuffled data; one
    averaged update by default.
    Neutral: ghost_batch_size = None, whatever the statistics.
    Cost: that of one batch norm on S times the channels, without a loop; with channels last S batch norms. The network needs
    batch normalization.
    """

    name: ClassVar[str] = "ghost_batch_norm"

    ghost_batch_size: int | None = setting(
        None, "examples in a group; none: the whole batch", low=1, suggested=over([16, 32, 64, 128])
    )

    statistics: str = setting(
        "average", "how the statistics of the groups update the running ones", one_of=STATISTICS, added_later=True
    )

    def is_neutral(self) -> bool:
        """Without groups there is nothing to merge."""
        return self.ghost_batch_size is None

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Refuse a size that does not divide the batch (or SAM's m), and a network without batch norm of a known kind."""
        size = self.ghost_batch_size
        if size is None:
            return []
        layers = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        if not layers:
            return [f"ghost_batch_norm.ghost_batch_size = {size}: the model has no batch normalization to work on"]
        found = [
            f"ghost_batch_norm: {kind.__name__} layers have no ghost form; BatchNorm1d and BatchNorm2d have"
            for kind in {type(layer) for layer in layers} - {nn.BatchNorm1d, nn.BatchNorm2d}
        ]
        if any(layer.momentum is None for layer in layers):
            found.append(
                "ghost_batch_norm: BatchNorm(momentum=None) keeps a cumulative average, not defined for groups"
            )
        whole = [("batch_size", trial.batch_size)]
        pieces = [piece for remedy in trial.active for piece in remedy.piece_sizes().items()]
        found += [
            f"ghost_batch_norm.ghost_batch_size = {size} does not divide {name} = {number}; {divisors(number)}"
            for name, number in whole + pieces
            if number % size
        ]
        if size == 1 and any(isinstance(part, nn.BatchNorm1d) for part in module.modules()):
            found.append("ghost_batch_norm.ghost_batch_size = 1: one example has no variance; take 2 or more")
        return found

    def separates_batch_norm(self) -> bool:
        """Groups are normalised by themselves."""
        return True

    def microbatch_problems(self, microbatch: int, batch_size: int) -> list[str]:
        """Refuse parts that would cut groups, and statistics that go from group to group."""
        what, size, found = f"microbatch = {microbatch}", self.ghost_batch_size or batch_size, []
        if microbatch % size:
            whole = ", ".join(str(b) for b in range(size, batch_size + 1, size) if batch_size % b == 0)
            found.append(
                f"{what} is no multiple of ghost_batch_norm.ghost_batch_size = {size}: groups would be cut; multiples "
                f"that divide batch_size: {whole}"
            )
        if self.statistics != "average":
            found.append(
                f"{what}: ghost_batch_norm.statistics = {self.statistics!r} updates group after group of the whole batch; "
                "take 'average'"
            )
        return found

    def model(self, module: nn.Module) -> nn.Module:
        """Turn every BatchNorm1d and BatchNorm2d into its ghost twin: same state names and shapes."""
        for part in module.modules():
            for plain, ghost in ((nn.BatchNorm1d, GhostBatchNorm1d), (nn.BatchNorm2d, GhostBatchNorm2d)):
                if type(part) is plain:
                    part.__class__ = ghost
                    part.__dict__.update(ghost_batch_size=self.ghost_batch_size, statistics=self.statistics)
        return module


def ghost_batch_norm(
    layer: nn.modules.batchnorm._BatchNorm, x: Tensor, ghost_batch_size: int, statistics: str = "average"
) -> Tensor:
    """Return x (B, C, ...) normalised by groups, and update the layer's running statistics in place.

    (B, C, ...) is viewed, without a copy, as (g, S C, ...): channel s C + c then holds the examples of group s, so a single
    call of batch norm with S-fold repeated scale and shift does all groups at once. Images with channels last would leave
    that layout, in which convolutions on a CPU are a third faster: they are taken group by group, which for so much work per
    call costs less than two changes of layout.
    """
    num_groups = x.shape[0] // ghost_batch_size
    channels = x.shape[1]
    means = variances = None
    if layer.track_running_stats and layer.running_mean is not None and layer.running_var is not None:
        # scratch statistics at momentum 1 receive exactly each group's mean and unbiased variance
        means, variances = (run.detach().repeat(num_groups) for run in (layer.running_mean, layer.running_var))
    # asked of the strides: under torch.func.vmap a memory format cannot be asked for
    if x.dim() == 4 and channels > 1 and x.stride(1) == 1 and x[0, 0].numel() > 1:
        y = _group_by_group(layer, x, num_groups, means, variances)
    else:
        grouped = x.reshape(ghost_batch_size, num_groups * channels, *x.shape[2:])
        weight = None if layer.weight is None else layer.weight.repeat(num_groups)
        bias = None if layer.bias is None else layer.bias.repeat(num_groups)
        y = batch_norm(layer, grouped, means, variances, weight, bias, 1.0).reshape(x.shape)
    if layer.running_mean is None or layer.running_var is None or means is None or variances is None:
        return y
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
    momentum = layer.momentum
    if momentum is None:
        raise ValueError(
            "ghost batch norm needs a momentum; BatchNorm(momentum=None), a cumulative average, is not defined for groups"
        )
    with torch.no_grad():
        for running, group in ((layer.running_mean, means), (layer.running_var, variances)):
            of_groups = group.view(num_groups, channels)
            if statistics == "average":
                running.mul_(1.0 - momentum).add_(of_groups.mean(0), alpha=momentum)
            else:
                each = momentum if statistics == "sequential" else momentum / num_groups
                ages = torch.arange(num_groups - 1, -1, -1, dtype=group.dtype, device=group.device)
                running.mul_((1.0 - each) ** num_groups).add_(each * (1.0 - each) ** ages @ of_groups)
    return y


def _group_by_group(
    layer: nn.modules.batchnorm._BatchNorm, x: Tensor, num_groups: int, means: Tensor | None, variances: Tensor | None
) -> Tensor:
    """Return images (B, C, H, W) with channels last normalised by groups, in the same layout."""
    none = [None] * num_groups
    of_means = none if means is None else means.view(num_groups, -1).unbind()
    of_variances = none if variances is None else variances.view(num_groups, -1).unbind()
    groups = x.permute(0, 2, 3, 1).reshape(-1, num_groups, *x.shape[2:], x.shape[1]).unbind(1)
    found = [
        F.batch_norm(
            group.contiguous().permute(0, 3, 1, 2), mean, variance, layer.weight, layer.bias, True, 1.0, layer.eps
        )
        for group, mean, variance in zip(groups, of_means, of_variances, strict=True)
    ]
    # the gradient of stacked tensors is strided, which batch norm's own is slow with; that of a product is not
    return torch.stack([(1.0 * y).permute(0, 2, 3, 1) for y in found], 1).flatten(0, 1).permute(0, 3, 1, 2)


class GhostBatchNorm1d(nn.BatchNorm1d):
    """BatchNorm1d that normalises each ghost group by itself while training."""

    ghost_batch_size: int
    statistics: str

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C) or (B, C, L)."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        return ghost_batch_norm(self, input, self.ghost_batch_size, self.statistics)


class GhostBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d that normalises each ghost group by itself while training."""

    ghost_batch_size: int
    statistics: str

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        return ghost_batch_norm(self, input, self.ghost_batch_size, self.statistics)
