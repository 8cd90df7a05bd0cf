"""What a worker does for members that take from other arms and for those that lend: files of weights, and trials made whole."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import safetensors.torch

from tune_lb.data.device import Parts
from tune_lb.errors import RequestError
from tune_lb.observation.variance_profile import profile_of_kept
from tune_lb.results.storage import Store
from tune_lb.results.wholeness import NOTE
from tune_lb.search.job import Member
from tune_lb.settings.taken import TakesVariances
from tune_lb.space.observation import Watch
from tune_lb.training.running import Running
from tune_lb.training.taking import start_taken_from, starting_from, variances_taken, with_profiles
from tune_lb.training.trial import Trial

WEIGHTS = "weights"


def weights_file(trial_id: str, seed: int, epoch: int) -> str:
    """Return the name of the file of a member's weights after so many epochs, in the folder of weights."""
    return f"{trial_id}.{seed}.epoch{epoch}.safetensors"


def keep_weights(training: Running, trial_id: str, watch: Watch, run: Store) -> None:
    """Store the weights of a training's members, where this is the end of an epoch, or the start, after which they are kept.

    A member that diverged, or ended before, keeps none any more. The same weights make the same file, whenever it is written.
    """
    epoch, step, plan = math.ceil(training.epoch - 1e-9), training.step, training.plan
    if not watch.keeps(epoch) or epoch > plan.whole_epochs or not (step == 0 or plan.ends_epoch(step)):
        return
    ended = {seed for group in training.groups for seed in group.diverged_at}
    ended |= {seed for group in training.groups for seed, at in group.stopped_at.items() if at < step}
    for seed, (params, buffers) in training.iterates().items():
        if seed not in ended:
            tensors = {name: value.cpu().contiguous() for name, value in (params | buffers).items()}
            run.child(WEIGHTS).write(weights_file(trial_id, seed, epoch), safetensors.torch.save(tensors, NOTE))


def made_whole(member: Member, run: Store, watch: Watch | None, parts_of: Callable[[Trial], Parts]) -> Trial:
    """Return a member's trial with what it takes from other arms in its place; its own where it takes nothing.

    parts_of: the data of a trial on the device. Raises RequestError where the other arm's member left nothing.
    """
    trial = member.trial
    start = start_taken_from(trial)
    if start is not None:
        trial = starting_from(trial, lent_file(member, *start, run))
    if watch is not None and variances_taken(trial):
        trial = with_profiles(trial, lambda remedy: _lent_profile(member, remedy, run, watch, parts_of(trial)))
    return trial


def _lent_profile(
    member: Member, remedy: TakesVariances, run: Store, watch: Watch, parts: Parts
) -> tuple[tuple[float, ...], ...]:
    """Return the variances at the weights that are kept of the other arm's member."""
    taken, asked = remedy.takes(), remedy.asks()
    arm = taken.arm if taken is not None else ""
    lender = member.lenders.get(arm, member).trial
    epochs = watch.kept_epochs(lender.plan(len(parts.train)).whole_epochs)
    kept = {epoch: safetensors.torch.load_file(lent_file(member, arm, epoch, run)) for epoch in epochs}
    return profile_of_kept(lender, parts, member.seed, kept, on=asked.on, layers=asked.layers)


def lent_file(member: Member, arm: str, epoch: int, run: Store) -> str:
    """Return the path, on this machine, of the weights that the member of another arm had after so many epochs."""
    lender = member.lenders.get(arm)
    if lender is None:
        raise RequestError(f"arm {member.trial.arm!r} takes weights of arm {arm!r}, which are there in a search alone")
    name, weights = weights_file(lender.trial_id, lender.seed, epoch), run.child(WEIGHTS)
    if not weights.exists(name):
        raise RequestError(
            f"arm {arm!r} left no weights after epoch {epoch} for seed {lender.seed} ({weights.location}/{name}): its "
            "member failed, diverged or ended before, or the file is gone"
        )
    # a damaged file starts no training
    contents = weights.read(name)
    if weights.is_local:
        return str(Path(weights.root, name))
    place = Path(_copies().name, name)
    place.write_bytes(contents)
    return str(place)


@functools.cache
def _copies() -> tempfile.TemporaryDirectory[str]:
    """Return a folder of this process, for weights that no path leads to; it goes when the process ends."""
    return tempfile.TemporaryDirectory(prefix="tune_lb_weights_")
