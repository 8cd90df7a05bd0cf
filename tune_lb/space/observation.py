"""What is observed of members while they train, as a space says it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tune_lb.errors import RequestError
from tune_lb.metrics.names import as_metrics
from tune_lb.settings.setting import Settings, setting


@dataclass(frozen=True)
class Walk(Settings):
    """What is observed of every update in chosen epochs: the train loss between the iterates, angles and distances.

    Between w_t and w_(t+1) the loss L over the whole clean train set, or max_samples examples of it, the same throughout, is taken
    at a = 0, 1/(points + 1), ..., 1, batch norm statistics recomputed at each point over the same examples, or those of each
    chunk (batch_norm="batch"; the rows of members say which: walk.batch_norm, walk.chunk). Rows of the history, at the step of
    w_(t+1):
    walk.loss     L(w_(t+1)), nats; also at the step at which a watched stretch begins, so L(w_0) where that is the first epoch
    walk.loss_1, ..., walk.loss_K  the losses at the K = points points between, in order, nats
    walk.floor    the valley's floor: the lowest L between the two, where that is below both ends; else no row
    walk.height   (L(w_t) + L(w_(t+1)) - 2 min L) / 2 over all points, nats, >= 0
    walk.barrier  rise of the highest point between the two above the higher end, nats; 0 where there is no barrier
    walk.is_barrier  1 where that is more than barrier_above, else 0; at the end of a watched epoch walk.barriers, their number
    walk.rounding where barrier_above is None, at the first update of a watched epoch: what rounding makes of a flat line, nats:
                  max r - min r over the points, r = L - L in float64; it is then the threshold of the epoch
    walk.cosine   of the batch gradients at w_(t-1) and w_t, remedies included; from the second update of a stretch of watched
                  epochs on
    walk.clean_cosine  the same of the gradients without the remedies that add noise, where there are any
    walk.distance |w_(t+1) - w_0|, walk.step_length |w_(t+1) - w_t|, walk.path_length their sum since the epoch's start
    and at the end of every epoch, watched or not, walk.distance and walk.epoch_distance, the distance from its start.

    Source: Xing et al., 2018 (A Walk with SGD), sections 3.1 and 3.2: 10 points, epochs 1, 10, 25, 100; the distance
    travelled by epoch: Hynes, "Towards Mini-Error with Maxi-Batch SGD", figure 5.
    Departure: batch statistics are those of the whole train set, unless batch_norm="batch".
    Cost for each watched update: points + 1 losses (two passes over the examples each with batch norm), one gradient, and one more
    with noise; points + 2 losses in float64 an epoch where rounding is measured. points = 0: no losses, the gradients alone.
    """

    epochs: tuple[int, ...] = setting((1, 10, 20), "epochs whose every update is observed, counted from 1")
    points: int = setting(10, "points between two iterates at which the loss is taken; 0: no loss at all", low=0)
    max_samples: int | None = setting(
        None, "train examples that losses are taken over; none: all", low=2, added_later=True
    )
    barrier_above: float | None = setting(
        None,
        "rise, nats, above which a point between is a barrier; none: the measured rounding",
        low=0.0,
        added_later=True,
    )
    batch_norm: str = setting(
        "recalibrated",
        "statistics at each point: recomputed over the examples, or of each chunk as in training (batch)",
        one_of=("recalibrated", "batch"),
        added_later=True,
    )

    def problems(self, where: str = "") -> list[str]:
        """Also refuse epochs that are no counts."""
        found = super().problems(where)
        if isinstance(self.epochs, tuple | list) and not all(
            isinstance(epoch, int) and not isinstance(epoch, bool) and epoch >= 1 for epoch in self.epochs
        ):
            found.append(f"{where or 'Walk'}.epochs = {self.epochs}: epochs are counted from 1, as in (1, 10, 20)")
        return found


CROSSINGS = (0.3, 0.1, 0.03, 0.01)
"""Train losses (nats) at whose first crossing lambda_max is taken unless a space says otherwise."""


def crossing_problems(crossings: Any, where: str) -> list[str]:
    """Return what is wrong with a space's crossings: finite numbers above 0, each once; None takes none."""
    if crossings is None:
        return []
    numbers = isinstance(crossings, tuple | list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf for value in crossings
    )
    if numbers and len(set(crossings)) == len(crossings):
        return []
    return [
        f"{where}.crossings = {crossings}: give train losses above 0, each once, as in {CROSSINGS}, or None for none"
    ]


SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Watch(Settings):
    """What is measured at the ends of chosen epochs and at the end of training, of the members that are looked at.

    Rows of the history: the main values of each metric under their names, as lambda_max; over another part than train
    with the part before it, as test_lambda_max; and watch.wall_s, the time that the look took, not in wall_s. Batch-norm
    statistics are recomputed over the train set before, and all looks use the same random draws. The training is not
    changed by it. Sources of such figures: Keskar et al., 2017, figure 6; Hynes, "Towards Mini-Error
    with Maxi-Batch SGD", figures 3 and 4 (the test set in batches of 500: batch_lambda_max); Xing et al., 2018, figures
    3 and 6.

    test_error: also test_loss and test_error at every epoch end, for curves beside train_loss and validation_loss; nothing is ever
    selected by what is observed. steps: looks after so many updates too, 0 before the first one: losses, loss crossings, metrics.
    keep_weights: the weights of the members that are looked at, as they train (no averages, batch-norm statistics as they ran),
    after every so many epochs, or after those listed; 0 is the start. A safetensors file each, TRIAL.SEED.epochE.safetensors in the
    run's weights/, with parameters and buffers by name: 4 bytes a number. keep_weights_of: the arms that keep them, all if empty.
    Another arm can start from them (StoredWeights(arm=..., epoch=...)); members that others take from keep them in every block.
    metrics: names or instances. every_epochs: from one look to the next. epochs: the epochs to look at, counted from 1,
    in place of every_epochs. splits: parts of the data.
    """

    metrics: tuple[Any, ...] = setting(("lambda_max",), "what is measured: names or instances of metrics")
    every_epochs: int = setting(1, "epochs from one look to the next", low=1)
    epochs: tuple[int, ...] = setting((), "epochs to look at, counted from 1, in place of every_epochs")
    splits: tuple[str, ...] = setting(("train",), "parts of the data: train, validation, test")
    test_error: bool = setting(False, "also loss and error on the test part at epoch ends", added_later=True)
    steps: tuple[int, ...] = setting((), "updates after which to look too; 0: before the first", added_later=True)
    keep_weights: int | tuple[int, ...] | None = setting(
        None,
        "epochs after which weights are kept: every so many, or those listed; 0 is the start",
        low=1,
        added_later=True,
    )
    keep_weights_of: tuple[str, ...] = setting((), "arms whose members keep weights; none named: all", added_later=True)

    def problems(self, where: str = "") -> list[str]:
        """Also refuse metrics and parts that there are not, and epochs that are no counts."""
        found, place = super().problems(where), where or "Watch"
        if found:
            return found
        try:
            # what it does beside metrics may be all that is asked of it
            as_metrics(self.metrics) if self.metrics or not (self.test_error or self.keep_weights) else ()
        except RequestError as error:
            found += [f"{place}.metrics: {problem}" for problem in error.problems]
        if not self.splits or len(set(self.splits)) < len(self.splits) or not set(self.splits) <= set(SPLITS):
            found.append(f"{place}.splits = {self.splits}: one or more of {', '.join(SPLITS)}, each once")
        if not all(isinstance(e, int) and not isinstance(e, bool) and e >= 1 for e in self.epochs):
            found.append(f"{place}.epochs = {self.epochs}: epochs are counted from 1, as in (1, 10, 20)")
        if not all(isinstance(step, int) and not isinstance(step, bool) and step >= 0 for step in self.steps):
            found.append(f"{place}.steps = {self.steps}: updates are counted from 0, as in (0, 1, 10, 100)")
        kept = self.keep_weights if isinstance(self.keep_weights, tuple) else ()
        if not all(isinstance(epoch, int) and not isinstance(epoch, bool) and epoch >= 0 for epoch in kept):
            found.append(f"{place}.keep_weights = {kept}: epochs are counted from 0, the start, as in (0, 1, 10)")
        if self.keep_weights_of and not self.keep_weights:
            found.append(
                f"{place}.keep_weights_of names arms, and keep_weights no epochs: give keep_weights, as 5 or (0, 1, 10)"
            )
        if self.epochs and self.every_epochs != 1:
            found.append(f"{place}: every_epochs = {self.every_epochs} and epochs = {self.epochs}: give one of them")
        return found

    def looks_at(self, epoch: int) -> bool:
        """Say whether the end of an epoch, counted from 1, is looked at."""
        return epoch in self.epochs if self.epochs else epoch % self.every_epochs == 0

    def keeps(self, epoch: int) -> bool:
        """Say whether weights are kept after so many epochs."""
        if isinstance(self.keep_weights, int):
            return epoch % self.keep_weights == 0
        return epoch in (self.keep_weights or ())

    def kept_epochs(self, num_epochs: int) -> list[int]:
        """Return the epochs of a training after which weights are kept."""
        return [epoch for epoch in range(num_epochs + 1) if self.keeps(epoch)]

    def is_kept_of(self, arm: str) -> bool:
        """Say whether members of an arm keep weights."""
        return self.keep_weights is not None and (not self.keep_weights_of or arm in self.keep_weights_of)
