"""Does a data set that is larger than memory cost memory or time?

    python benchmarks/big_data.py [--gigabytes 4] [--folder DIR] [--rounds 5] [--steps 40] [--batch-size 256]

Made-up images (3 x 64 x 64, uint8) are written once as a folder of .npy files. Two things are measured:

* time: the same training steps (a narrow network of which a step costs little, and a convolutional one) on the data in their
  file and on a copy in memory, in turns in one process. A ratio is the median over rounds of (seconds in the file / seconds in
  memory in the same round), of CPU time, the system's included, and of wall time. The file is in the system's cache, as it is
  after the first epoch wherever the machine has the memory.
* memory: a search with two workers, as a command of its own. Every 0.5 s the resident memory of its processes is summed, once
  as the system counts it (pages that processes share count in each), once proportionally, and of anonymous memory alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from tune_lb import Epochs
from tune_lb.data import Arrays, DataSet, Part
from tune_lb.data.device import Parts, on_device
from tune_lb.losses import cross_entropy
from tune_lb.models import MLP, SmallCNN
from tune_lb.optimizers import SGD
from tune_lb.schedules import Constant
from tune_lb.training.training import Training
from tune_lb.training.trial import Model, Trial

CLASSES, SHAPE = 10, (3, 64, 64)
WORKER = "Trainable"

SPACE = """
from tune_lb import Arm, Space
from tune_lb.budgets import Updates
from tune_lb.data import Arrays
from tune_lb.models import MLP
SPACE = Space(
    question="Does data larger than memory fit?", data=Arrays("images"), model=MLP(hidden=(16,)), batch_size={batch_size}, lr=0.01,
    budget=Updates(100), num_samples=1, confirm_blocks=1, block_seeds=1, baseline="a", reference="b",
    derived=False, placebo=False, execution="alone", arms=(Arm("a"), Arm("b", batch_size=2 * {batch_size})),
)
"""


def write_images(folder: Path, num: int) -> None:
    """Write a train part of num images, and a validation and a test part of 1,000."""
    stream = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for part, size in (("train", num), ("val", 1000), ("test", 1000)):
        labels = np.arange(size) % CLASSES
        images = np.lib.format.open_memmap(folder / f"{part}_images.npy", "w+", np.uint8, (size, *SHAPE))
        for start in range(0, size, 4096):
            block = stream.integers(0, 200, images[start : start + 4096].shape, dtype=np.uint8)
            images[start : start + 4096] = block + 5 * labels[start : start + 4096, None, None, None].astype(np.uint8)
        np.save(folder / f"{part}_labels.npy", labels)


def in_memory(data: DataSet) -> DataSet:
    """Return the same data as arrays of this process."""
    parts = [Part(np.array(part.inputs), part.targets) for part in (data.train, data.validation, data.test)]
    return DataSet(data.name, data.num_classes, *parts, data.offset, data.scale)


def seconds(parts: Parts, source: Arrays, model: Model, steps: int, batch_size: int) -> tuple[float, float]:
    """Return CPU and wall seconds of a step, after a few to warm up."""
    trial = Trial("a", source, model, SGD(), Constant(), Epochs(1.0), cross_entropy, batch_size=batch_size, lr=0.001)
    running = Training(trial, [0], parts, dtype=torch.float32)
    share = batch_size / len(parts.train.targets)
    running.advance(3 * share)
    before, started, cpu = running.step, time.perf_counter(), time.process_time()
    running.advance(steps * share)
    num = running.step - before
    return (time.process_time() - cpu) / num, (time.perf_counter() - started) / num


def tree_of(pid: int) -> list[int]:
    """Return a process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def resident(pid: int) -> tuple[float, float, float, bool]:
    """Return resident, proportional and anonymous GB of a process, and whether it is a worker; zeros where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        worker = WORKER in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return 0.0, 0.0, 0.0, False
    values = {line.split()[0]: int(line.split()[1]) * 1024 / 1e9 for line in lines}
    return values["Rss:"], values["Pss:"], values["Anonymous:"], worker


def search_memory(folder: Path, batch_size: int) -> None:
    """Run a search with two workers and print the largest sums."""
    (folder / "big_space.py").write_text(SPACE.format(batch_size=batch_size))
    command = [
        sys.executable,
        "-m",
        "tune_lb",
        "search",
        str(folder / "big_space.py"),
        "--storage",
        str(folder / "runs"),
    ]
    command += ["--max-concurrent", "2", "--fresh"]
    started = time.perf_counter()
    with (folder / "search.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        most: dict[str, tuple[float, ...]] = {}
        while process.poll() is None:
            measured = [resident(pid) for pid in tree_of(process.pid)]
            workers = [one for one in measured if one[3]]
            for name, some in (("workers", workers), ("all processes", measured)):
                sums = tuple(sum(one[i] for one in some) for i in range(3))
                most[name] = tuple(map(max, most.get(name, (0.0, 0.0, 0.0)), sums))
                if name == "workers":
                    most["number of workers"] = (max(len(some), most.get("number of workers", (0,))[0]),)
            time.sleep(0.5)
    print((folder / "search.log").read_text()[-1500:])
    print(f"search: rc {process.returncode}, {time.perf_counter() - started:.0f} s")
    print(f"workers at a time: {most['number of workers'][0]}")
    for name in ("workers", "all processes"):
        print("{}: at most {:.2f} GB resident, {:.2f} proportional, {:.2f} anonymous".format(name, *most[name]))


def main() -> None:
    """Write the images, measure time and memory, print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=256)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="big_data."))
    os.environ["TUNE_LB_CACHE"] = str(folder / "cache")
    try:
        started = time.perf_counter()
        write_images(folder / "images", int(given.gigabytes * 1e9 / np.prod(SHAPE)))
        print(f"{given.gigabytes} GB written in {time.perf_counter() - started:.0f} s", flush=True)
        search_memory(folder, given.batch_size)
        source = Arrays(str(folder / "images"))
        data = source.load(0)
        sets = {"file": on_device(data, "cpu"), "memory": on_device(in_memory(data), "cpu")}
        for model in (MLP(hidden=(64,)), SmallCNN()):
            steps = given.steps if isinstance(model, MLP) else max(4, given.steps // 10)
            turns = [
                {name: seconds(sets[name], source, model, steps, given.batch_size) for name in names}
                # whoever comes second finds a warmer machine
                for names in [("file", "memory"), ("memory", "file")] * given.rounds
            ]
            for i, clock in enumerate(("CPU", "wall")):
                ratios = sorted(turn["file"][i] / turn["memory"][i] for turn in turns)
                times = {name: f"{1e3 * statistics.median(turn[name][i] for turn in turns):.2f} ms" for name in sets}
                print(f"{model}, a step, {clock}: {times['file']} in the file, {times['memory']} in memory")
                spread = f"({ratios[0]:.3f} .. {ratios[-1]:.3f})"
                print(f"    ratio {statistics.median(ratios):.3f} {spread}", flush=True)
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
