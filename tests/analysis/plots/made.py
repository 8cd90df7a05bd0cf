"""Made-up runs of arms over batch sizes, with history, walk and crossed configurations, for the figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.results import Results
from tests.analysis.fabrication import Arm, Procedure, fabricate
from tune_lb.results.merger import HISTORY_SCHEMA

SIZES = (32, 64, 128, 256, 512, 1024)
THRESHOLD = 128
PLAIN = Procedure(
    num_samples=1, candidates=1, confirm_blocks=4, block_seeds=1, measured_blocks=4, arm_block_std=2e-4, member_std=2e-4
)


def over_sizes(procedure: Procedure = PLAIN, **changes: Any) -> Results:
    """Arms batch_32 ... batch_1024 and the same with SAM, at rate 0.1: 1 point a doubling worse beyond 128, with SAM beyond 512."""
    arms = {}
    for size in SIZES:
        role = {SIZES[0]: "baseline", SIZES[-1]: "reference"}.get(size, "arm")
        error = 0.04 + 0.01 * max(0.0, float(np.log2(size / THRESHOLD)))
        arms[f"batch_{size}"] = Arm(error, role, size, lambda_max=size**0.5)
        sam = 0.04 + 0.01 * max(0.0, float(np.log2(size / 512)))
        arms[f"batch_{size}_sam"] = Arm(sam, "arm", size, lambda_max=size**0.3, remedies=("sam",), cost=2.0)
    frames = fabricate(arms, procedure)
    members = frames.members.assign(lr=0.1, eta_over_b=0.1 / frames.members["batch_size"])
    return Results(replace(frames, members=members, **changes))


def with_history(results: Results, rows: list[tuple[str, int, int, float, str, float]]) -> Results:
    """The run with a history: (trial_id, seed, step, epoch, name, value)."""
    names = ["trial_id", "seed", "step", "epoch", "name", "value"]
    table = pd.DataFrame(rows, columns=names).assign(wall_s=0.0)[HISTORY_SCHEMA.names]
    return Results(replace(results.frames, history=table))


def trained(results: Results, epochs: int = 5) -> Results:
    """With train and test error and loss, and lambda_max, at the end of every epoch of every confirmed member."""
    rows: list[tuple[str, int, int, float, str, float]] = []
    for member in results.confirmed.to_dict("records"):
        updates = 1000 // int(member["batch_size"])
        for epoch in range(1, epochs + 1):
            for name, value in (
                ("train_error", 0.5 / epoch**2),
                ("test_error", member["test_error"] + 0.5 / epoch**2),
                ("train_loss", 1.0 / epoch**2),
                ("lambda_max", member["lambda_max"] * epoch if member["lambda_max"] else None),
            ):
                if value is not None and np.isfinite(value):
                    rows.append(
                        (
                            str(member["trial_id"]),
                            int(member["seed"]),
                            epoch * updates,
                            float(epoch),
                            name,
                            float(value),
                        )
                    )
    return with_history(results, rows)


def walked(results: Results) -> Results:
    """With a walk of four updates in epochs 1 and 2, three points between iterates, of every confirmed member.

    Losses fall by 0.1 an update; the third point between lies 0.05 below the line in epoch 1, above in epoch 2: a barrier each.
    """
    rows: list[tuple[str, int, int, float, str, float]] = []
    for number, member in enumerate(results.confirmed.to_dict("records")):
        key = (str(member["trial_id"]), int(member["seed"]))
        rows.append((*key, 0, 0.0, "walk.loss", 2.0))
        for step in range(1, 9):
            epoch, first, last = step / 4, 2.0 - 0.1 * (step - 1), 2.0 - 0.1 * step
            bend = 0.0 if step % 4 else (-0.05 if step <= 4 else 0.3)
            losses = {f"walk.loss_{i}": first + (last - first) * i / 4 + (bend if i == 3 else 0.0) for i in (1, 2, 3)}
            low = min(losses.values())
            found = {
                **losses,
                "walk.loss": last,
                "walk.height": (first + last - 2 * min(low, last)) / 2,
                "walk.is_barrier": float(max(losses.values()) > max(first, last)),
                "walk.cosine": -0.1 * number / 10,
                "walk.step_length": 0.5,
                "walk.distance": 0.5 * step,
            }
            if low < last:
                found["walk.floor"] = low
            rows += [(*key, step, epoch, name, value) for name, value in found.items()]
    return with_history(results, rows)


def crossed(sizes: tuple[int, ...] = (32, 128, 512), rates: tuple[float, ...] = (0.01, 0.03, 0.1)) -> Results:
    """One arm that searched every rate at every batch size; error least at eta/B = 3e-4, 2 points higher a factor of e off."""
    procedure = Procedure(num_samples=len(sizes) * len(rates), candidates=1, confirm_blocks=2, block_seeds=1)
    frames = fabricate({"plain": Arm(0.05, "reference", 32)}, procedure)
    members = frames.members.copy()
    pairs = [(size, rate) for size in sizes for rate in rates]
    place = members["configuration_id"].str.rpartition("_")[2].astype(int)
    members["batch_size"] = [pairs[i][0] for i in place]
    members["lr"] = [pairs[i][1] for i in place]
    members["eta_over_b"] = members["lr"] / members["batch_size"]
    members["test_error"] = 0.05 + 0.02 * np.abs(np.log(members["eta_over_b"] / 3e-4))
    space: dict[str, Any] = dict(frames.space)
    domains = {"batch_size": {"values": list(sizes)}, "lr": {"values": list(rates)}}
    space["arms"] = [arm | {"dimensions": domains} for arm in space["arms"]]
    return Results(replace(frames, members=members, space=space))
