"""What trainings, a search and the analysis of the committed runs came to, as numbers that must not move.

`python -m tests.same_numbers` computes everything anew and says what differs from tests/same_numbers.json; with `--record`
it writes that file. A change that moves a number says so in CHANGELOG.md.

Two things are kept of every number: a hash of its bits, which holds for the processor and the torch that it was recorded
with, and rounded values, which hold anywhere.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import analysis
from analysis.summary import summary
from tests.trainings import EXAMPLES, Blobs, flat, many_that_compose, training, trial
from tune_lb.budgets import Epochs, GradientEvaluations, UntilPlateau, Updates
from tune_lb.data.dataset import DataSet, DataSource, Part
from tune_lb.data.device import on_device
from tune_lb.losses import LabelSmoothedCrossEntropy, squared_error
from tune_lb.metrics.adaptive_sharpness import AdaptiveSharpness
from tune_lb.metrics.average_sharpness import AverageSharpness
from tune_lb.metrics.keskar import Keskar
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.trace import Trace
from tune_lb.models.initialization import Initialization
from tune_lb.models.mlp import MLP
from tune_lb.models.small_cnn import SmallCNN
from tune_lb.observation.outcome import outcomes
from tune_lb.optimizers.elementwise import SGD, AdaGrad, Adam, AdamW, RMSprop
from tune_lb.optimizers.lamb import LAMB
from tune_lb.optimizers.lars import LARS
from tune_lb.optimizers.muon import Muon
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.warmup import Warmup
from tune_lb.schedules import Constant, Cyclical, Linear, Step, Trapezoid
from tune_lb.search.data_facts import DataFacts
from tune_lb.search.planner import Search
from tune_lb.search.score import score_of
from tune_lb.settings.domain import over
from tune_lb.space.arm import Arm
from tune_lb.space.description import space_hash
from tune_lb.space.space import Space
from tune_lb.training.phase import Phase
from tune_lb.training.phased_training import begun
from tune_lb.training.trial import Trial

RECORD = Path(__file__).with_suffix(".json")
ROOT = Path(__file__).parents[1]
RUNS = {
    f"{folder.parent.name}/{folder.name}": folder
    for parent in ("docs/results", "tests/old_runs")
    for folder in sorted((ROOT / parent).iterdir())
}
"""The committed runs: those that the docs speak of, and three of the design of before."""
METRICS = (LambdaMax(), Keskar(eps=(1e-3,), p=5), AdaptiveSharpness(), AverageSharpness(pairs=2), Trace(max_hvps=60))
SHOWN = ("train_loss", "train_error", "validation_loss", "test_loss", "test_error", "test_error_running", "lambda_max")

Number = dict[str, Any]


@dataclass(frozen=True)
class Images(DataSource):
    """Random images of three classes whose means differ: 1 x 28 x 28, uint8."""

    def load(self, split_seed: int) -> DataSet:
        """Return three parts of equal size."""
        rng = np.random.default_rng([11, split_seed])
        patterns = rng.integers(0, 120, (3, 1, 28, 28))

        def part() -> Part:
            targets = np.arange(24, dtype=np.int64) % 3
            return Part((patterns[targets] + rng.integers(0, 120, (24, 1, 28, 28))).astype(np.uint8), targets)

        return DataSet("images", 3, part(), part(), part(), offset=120.0, scale=60.0)


def trials() -> dict[str, tuple[Trial, dict[str, Any]]]:
    """Return every training that is held to its numbers, by name, with how it is run."""
    both = (GhostBatchNorm(ghost_batch_size=4), SAM(rho=0.1), GradientNoise(alpha=1e-3), Warmup(epochs=1.0))
    images = {"data": Images(), "model": SmallCNN(), "lr": 0.02}
    found: dict[str, tuple[Trial, dict[str, Any]]] = {
        "plain": (trial(), {}),
        "plain, together": (trial(), {"execution": "together"}),
        "plain, float32": (trial(), {"dtype": torch.float32}),
        "adam, step": (trial(optimizer=Adam(), lr=0.01, schedule=Step(milestones=(0.4, 0.8))), {}),
        "adamw, trapezoid": (trial(optimizer=AdamW(), lr=0.01, schedule=Trapezoid()), {}),
        "rmsprop, linear": (trial(optimizer=RMSprop(), lr=0.01, schedule=Linear(final=0.1)), {}),
        "adagrad, cyclical": (trial(optimizer=AdaGrad(), schedule=Cyclical(period_epochs=1.0)), {}),
        "nesterov, constant": (trial(optimizer=SGD(nesterov=True), schedule=Constant()), {}),
        "lars": (trial(optimizer=LARS()), {}),
        "lamb": (trial(optimizer=LAMB(), lr=0.01), {}),
        "muon": (trial(optimizer=Muon(), lr=0.02), {"execution": "together"}),
        "eta_over_b, updates": (trial(lr=None, eta_over_b=0.01, budget=Updates(5)), {}),
        "gradient evaluations": (trial(SAM(rho=0.1), budget=GradientEvaluations(8)), {}),
        "until plateau": (trial(budget=UntilPlateau(patience=1, tolerance=0.5, max_epochs=6.0)), {}),
        "losses": (trial(loss=squared_error, initialization=Initialization("glorot_uniform")), {}),
        "softened": (trial(loss=LabelSmoothedCrossEntropy(0.2), draws="placebo"), {}),
        "phases": (trial(SAM(rho=0.1), phases=(Phase(epochs=1.0, batch_size=4, lr=0.05, remedies=()),)), {}),
        "phases, together": (
            trial(phases=(Phase(epochs=1.0, batch_size=4), Phase(epochs=0.5))),
            {"execution": "together"},
        ),
        "microbatches": (trial(*both[:2]), {"microbatch": 4}),
        "bf16": (trial(precision="bf16"), {"dtype": torch.float32}),
        "four remedies": (trial(*both), {}),
        "four remedies, together": (trial(*both), {"execution": "together"}),
        "all that compose": (trial(*many_that_compose()), {}),
        "cnn": (trial(**images), {"dtype": torch.float32}),
        "cnn, four remedies": (trial(*both, **images), {"dtype": torch.float32}),
        "cnn, four remedies, together": (trial(*both, **images), {"dtype": torch.float32, "execution": "together"}),
        "four remedies, compiled": (trial(*both), {"execution": "compiled_alone"}),
        "adam, compiled together": (
            trial(Warmup(epochs=1.0), optimizer=Adam(), lr=0.01),
            {"execution": "compiled_together"},
        ),
    }
    for name, examples in EXAMPLES.items():
        found |= {f"{name} {i}": (trial(example), {}) for i, example in enumerate(examples)}
    return found


def is_slow(name: str) -> bool:
    """Say whether a training compiles, or is measured as a network of many parameters."""
    return "compiled" in name or name == "cnn"


def trained(name: str) -> Number:
    """Return the last weights of two members, and what is measured on them."""
    of, options = trials()[name]
    plain = options.keys() <= {"execution", "dtype"} and not of.phases
    if plain:
        running: Any = training(of, (3, 8), **options)
    else:
        running = begun(of, (3, 8), on_device(of.data.load(0), "cpu"), **options)
    while not running.done:
        running.advance()
    weights = [torch.cat([flat(m.params), flat(m.buffers)]) for m in running.trained()]
    # metrics are slow on what is many parameters, and say the same of every remedy
    rows = [found.row for found in outcomes(running, metrics=METRICS if name in ("plain", "cnn") else (), wall_s=0.0)]
    values = {f"{key} {row['seed']}": row[key] for row in rows for key in SHOWN if row.get(key) is not None}
    measured = [
        value for row in rows for key, value in sorted(row.items()) if isinstance(value, float) and key != "wall_s"
    ]
    bits = [*(w.numpy().tobytes() for w in weights), np.array(measured).tobytes()]
    values |= {f"norm {i}": float(w.norm()) for i, w in enumerate(weights)}
    return {"bits": digest(bits), "values": values, "columns": digest([repr(sorted(row)).encode() for row in rows])}


def searched() -> Number:
    """Return the members of a small search, trained here one after the other: who they are and what they reached."""
    space = Space(
        question="Does any of it help?",
        data=Blobs(),
        model=MLP(hidden=(4,)),
        eta_over_b=over(1e-4, 1e-1, log=True),
        budget=Epochs(2.0),
        batch_size=24,
        num_samples=3,
        candidates=2,
        decide_blocks=2,
        confirm_blocks=2,
        block_seeds=2,
        arms=(
            Arm("small", batch_size=4),
            Arm("large"),
            Arm("sam", SAM(rho=over(0.02, 1.0, log=True))),
            Arm("ghost", GhostBatchNorm(ghost_batch_size=over([4, 12]))),
            Arm("both", SAM(rho=over(0.02, 1.0, log=True)), GhostBatchNorm(ghost_batch_size=4), combines=("sam",)),
            Arm("phased", phases=(Phase(epochs=over(0.5, 1.0), batch_size=4),), optimizer=over([SGD(), Adam()])),
        ),
        baseline="small",
        reference="large",
        metrics=(LambdaMax(),),
    )
    first = space.data.load(0)
    state = Search(space, DataFacts(first.fingerprint(), len(first.validation.targets), first.num_classes))
    parts = functools.cache(lambda split_seed: on_device(space.data.load(split_seed), "cpu"))
    members: dict[str, list[Any]] = {}
    while (job := state.take()) is not None:
        for member in job.members:
            running: Any = begun(member.trial, [member.seed], parts(member.trial.split_seed))
            while not running.done:
                running.advance()
            (row,) = [found.row for found in outcomes(running, metrics=space.metrics, wall_s=0.0)]
            state.observe({member.key: score_of(row)})
            who = f"{member.trial_id} {member.seed} {job.stage} {job.arm} {member.block} {member.configuration_id}"
            shown = ("lr", "validation_error", "validation_soft_error", "test_error", "lambda_max")
            members[who] = [rounded(row[key]) for key in shown]
    chosen = {arm: state.selected(arm) for arm in state.arms}
    return {
        "values": members,
        "hash": space_hash(space),
        "selected": {key: found.configuration_id for key, found in chosen.items() if found is not None},
    }


def analysed(run: str) -> Number:
    """Return what the analysis says of a committed run: its sentences, and every column of its tables."""
    results = analysis.load(RUNS[run])
    shown = summary(results)
    tables = {"arms": results.arms, "configurations": results.configurations}
    columns = {
        f"{name}.{column}": digest([repr([rounded(value) for value in table[column].tolist()]).encode()])
        for name, table in tables.items()
        for column in table.columns
        if not column.startswith("two_way")
    }
    # drawn in float32: the last of ten digits depends on the processor and on the number of threads
    single = [column for column in results.arms.columns if column.startswith("two_way")]
    return {
        "two_way": {column: [rounded(value) for value in results.arms[column].tolist()] for column in single},
        "sentences": shown["sentences"],
        "cells": [row["cells"] for row in shown["rows"]],
        "best": json.loads(json.dumps(shown["best"])),
        "columns": columns,
    }


def rounded(value: Any) -> Any:
    """Return a number to ten digits, anything else as it is."""
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.10g}")
    return value if isinstance(value, bool | int | str) else None


def digest(parts: Iterable[bytes]) -> str:
    """Return a short hash of bytes."""
    return hashlib.sha256(b"\x1f".join(parts)).hexdigest()[:16]


@functools.cache
def record() -> Mapping[str, Any]:
    """Return what was recorded."""
    found: Mapping[str, Any] = json.loads(RECORD.read_text())
    return found


def environment() -> str:
    """Return what bits depend on."""
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, numpy {np.__version__}"


def problems(found: Number, stated: Number) -> list[str]:
    """Return what differs: values to a relative 1e-4 or the tolerance that they are measured to, bits only where they were
    recorded in such an environment."""
    wrong = []
    if "bits" in stated and record()["environment"] == environment() and found["bits"] != stated["bits"]:
        wrong.append("the bits differ")
    for part in stated.keys() - {"bits", "columns"}:
        wrong += differences(found[part], stated[part], part)
    if isinstance(stated.get("columns"), str) and found["columns"] != stated["columns"]:
        wrong.append("the columns of a row differ")
    return wrong


def differences(found: Any, stated: Any, place: str) -> list[str]:
    """Return where two trees of plain values differ."""
    if isinstance(stated, dict) and isinstance(found, dict):
        keys = [*stated, *(key for key in found if key not in stated)]
        return [line for key in keys for line in differences(found.get(key), stated.get(key), f"{place}: {key}")]
    if isinstance(stated, list) and isinstance(found, list) and len(stated) == len(found):
        return [
            line
            for i, pair in enumerate(zip(found, stated, strict=True))
            for line in differences(*pair, f"{place}[{i}]")
        ]
    if isinstance(stated, float) and isinstance(found, int | float):
        # not tighter: float32 sums differ between processors; a training's eigenvalue is known to its own tolerance on another
        elsewhere = place.startswith("values: lambda_max") and record()["environment"] != environment()
        close = LambdaMax().tolerance if elsewhere else 1e-4
        return [] if math.isclose(found, stated, rel_tol=close, abs_tol=1e-6) else [f"{place}: {found}, was {stated}"]
    return [] if found == stated else [f"{place}: {found!r}, was {stated!r}"]


def main() -> int:
    """Compute everything; record it, or say what differs."""
    torch.set_num_threads(1)
    jobs: dict[str, Callable[[], Number]] = {f"trial {name}": functools.partial(trained, name) for name in trials()}
    jobs["search"] = searched
    jobs |= {f"run {name}": functools.partial(analysed, name) for name in RUNS}
    found = {}
    for name, job in jobs.items():
        found[name] = job()
        print(name, flush=True)
    if "--record" in sys.argv:
        RECORD.write_text(json.dumps({"environment": environment(), "found": found}, indent=1, sort_keys=True) + "\n")
        return 0
    wrong = [f"{name}: {line}" for name in found for line in problems(found[name], record()["found"][name])]
    print("\n".join(wrong) or "nothing differs")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
