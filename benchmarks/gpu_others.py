"""On a device: lambda_max beside its peers, the size of microbatches found by trying, tests, and searches by several workers."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_rows import Given, Pixels, numbers_like, resnet50, trial_of, vgg11
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from tune_lb.data.device import on_device
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.measuring import measure
from tune_lb.models.alexnet import C1
from tune_lb.models.mlp import F1, MLP
from tune_lb.models.resnet import ResNet, ResNet32
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.space.space import Space
from tune_lb.training.microbatch_size import chosen_size, rehearse
from tune_lb.training.training import Training

TESTED = ("tests/training/test_on_gpu.py", "tests/metrics/test_on_gpu.py", "tests/data/test_device.py")
ROOT = Path(__file__).resolve().parents[1]
LOSS = nn.CrossEntropyLoss()
SHARP: dict[str, tuple[Any, tuple[int, ...]]] = {
    "F1": (F1(), (784,)),
    "C1": (C1(), (3, 32, 32)),
    "ResNet-32": (ResNet32(), (3, 32, 32)),
}


def sharpness(given: Given) -> Iterator[None]:
    """Record value, relative error, Hessian-vector products and seconds of lambda_max, of tune_lb and of its peers.

    The reference is ARPACK's to 1e-7 in float64 on the same device. "tf32" is what torch allows convolutions by itself.
    """
    yield
    importlib.invalidate_caches()
    for name, (model, shape) in list(SHARP.items())[: 2 if given.small else None]:
        size = 16 if given.small else 2048
        if given.small:
            model = MLP(hidden=(8,)) if len(shape) == 1 else ResNet(depth=8, width=2)
        about = {"network": name, "batch_size": size, "members": 1}
        with given.trying("lambda_max", "network", **about):
            numbers_like("fp32")
            module, inputs, targets = _trained(model, shape, size, given)
            reference = _exact(module, inputs, targets)
            given.record("lambda_max", "float64", reference, "value", precision="fp64", **about)
            for precision in ("fp32", "tf32"):
                numbers_like(precision)
                for way, call in _peers(module, inputs, targets, given).items():
                    with given.trying("lambda_max", way, precision=precision, **about):
                        call()
                        given.synchronize()
                        started = time.perf_counter()
                        value, products = call()
                        given.synchronize()
                        taken = time.perf_counter() - started
                        error = abs(value - reference) / abs(reference)
                        more = about | {"precision": precision}
                        for unit, found in (("relative error", error), ("s", taken), ("products", products)):
                            if found is not None:
                                given.record("lambda_max", way, found, unit, n=1, **more)


def _trained(model: Any, shape: tuple[int, ...], size: int, given: Given) -> tuple[nn.Module, Tensor, Tensor]:
    train = on_device(Pixels(num_train=size, shape=shape).load(0), given.device).train
    inputs, targets = train.standardized(), train.targets
    torch.manual_seed(0)
    module = model(shape, 10).to(given.device).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.9)
    for step in range(4 if given.small else 60):
        chosen = torch.arange(256, device=given.device) * 7 % size + step
        optimizer.zero_grad()
        LOSS(module(inputs[chosen % size]), targets[chosen % size]).backward()
        optimizer.step()
    optimizer.zero_grad()
    return module.eval(), inputs, targets


def _product(module: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[int, Callable[[Tensor], Tensor]]:
    """Return the number of parameters and the Hessian-vector product, reverse over reverse on one graph."""
    params = list(module.parameters())
    gradients = torch.autograd.grad(LOSS(module(inputs), targets), params, create_graph=True)
    flat = torch.cat([gradient.flatten() for gradient in gradients])

    def product(vector: Tensor) -> Tensor:
        parts = torch.autograd.grad(flat, params, vector, retain_graph=True)
        return torch.cat([part.flatten() for part in parts])

    return len(flat), product


def _exact(module: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    length, product = _product(copy.deepcopy(module).double(), inputs.double(), targets)

    def on_host(vector: Any) -> Any:
        return product(torch.from_numpy(vector.reshape(-1)).to(inputs.device)).cpu().numpy()

    operator = LinearOperator((length, length), matvec=on_host, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(length)
    return float(eigsh(operator, k=1, which="LA", tol=1e-7, v0=start, return_eigenvectors=False)[0])


def _peers(
    module: nn.Module, inputs: Tensor, targets: Tensor, given: Given
) -> dict[str, Callable[[], tuple[float, int | None]]]:
    def own() -> tuple[float, int | None]:
        row: Any = measure(module, LOSS, inputs, targets, LambdaMax(), seed=0)
        return row["lambda_max"], row["lambda_max.hvps"]

    def by_power() -> tuple[float, int | None]:
        length, product = _product(module, inputs, targets)
        torch.manual_seed(1)
        vector, value, number = torch.randn(length, device=given.device), 0.0, 0
        while number < 200:
            number += 1
            vector = vector / vector.norm()
            after = product(vector)
            before, value = value, float(vector @ after)
            vector = after
            if abs(value - before) <= 1e-3 * abs(value):
                break
        return value, number

    def pyhessian() -> tuple[float, int | None]:
        peer = importlib.import_module("pyhessian.hessian")
        torch.manual_seed(1)
        found = peer.hessian(module, LOSS, data=(inputs, targets), cuda=given.on_gpu).eigenvalues(maxIter=200, tol=1e-3)
        module.zero_grad()
        return float(found[0][0]), None

    def curvlinops() -> tuple[float, int | None]:
        peer, counted = importlib.import_module("curvlinops"), []
        operator = peer.HessianLinearOperator(
            module, LOSS, list(module.parameters()), [(inputs, targets)], check_deterministic=False
        ).to_scipy()

        def counting(vector: Any) -> Any:
            counted.append(1)
            return operator.matvec(vector)

        wrapped = LinearOperator(operator.shape, matvec=counting, dtype=operator.dtype)
        start = np.random.default_rng(1).standard_normal(operator.shape[0]).astype(operator.dtype)
        found = eigsh(wrapped, k=1, which="LA", tol=1e-3, v0=start, return_eigenvectors=False)
        return float(found[0]), len(counted)

    return {"tune_lb": own, "power iteration": by_power, "PyHessian": pyhessian, "curvlinops, eigsh": curvlinops}


def microbatches(given: Given) -> Iterator[None]:
    """Record the size that `microbatch: auto` finds for batches that do not fit, its cost, and the peak beside the limit."""
    yield
    shape = (3, 32, 32) if given.small else (3, 224, 224)
    cases: dict[str, tuple[Any, int, tuple[Any, ...]]] = {
        "ResNet-50, ghosts of 64": (resnet50, 2048, (GhostBatchNorm(ghost_batch_size=64),)),
        "VGG-11": (vgg11, 4096, ()),
    }
    for name, (model, batch_size, remedies) in cases.items():
        if given.small:
            model, batch_size = ResNet(depth=8, width=2), 64
        about = {"network": name, "batch_size": batch_size, "members": 1, "precision": "torch's default"}
        with given.trying("microbatches", "auto", **about):
            parts = on_device(Pixels(num_train=batch_size, shape=shape).load(0), given.device)
            trial = trial_of(model, Pixels(num_train=batch_size, shape=shape), batch_size, *remedies)
            started = time.perf_counter()
            size = chosen_size(trial, [0], parts, "auto")
            given.record("microbatches", "auto", time.perf_counter() - started, "s to find", **about)
            given.record("microbatches", "auto", size or batch_size, "examples", **about)
            if given.on_gpu:
                torch.cuda.reset_peak_memory_stats()
            training = Training(trial, [0], parts, microbatch=size)
            started = time.perf_counter()
            rehearse(training)
            given.record("microbatches", "auto", time.perf_counter() - started, "s/update", n=1, **about)
            if given.on_gpu:
                limit = torch.cuda.mem_get_info()[1]
                for what, peak in (
                    ("", torch.cuda.max_memory_allocated()),
                    (" reserved", torch.cuda.max_memory_reserved()),
                ):
                    given.record("microbatches", f"auto, peak{what}", peak / limit, "share of memory", **about)


def tests(given: Given) -> Iterator[None]:
    """Record every test marked gpu: 1 where it passed, 0 where not, with what it said."""
    yield
    folder = Path(tempfile.mkdtemp())
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-x" if given.small else "--maxfail=1000"]
    command += ["-n", "1" if given.small else "12", "--dist", "worksteal", "-v", "--tb=short", "--durations=8"]
    command += ["-W", "default", "-p", "no:cacheprovider", f"--junitxml={folder / 'found.xml'}", *TESTED]
    own = os.environ | {"TUNE_LB_TEST_DEVICE": given.device}
    # to a file: what has passed by then is known of tests that do not end, too
    with (folder / "said").open("w") as said, contextlib.suppress(subprocess.TimeoutExpired):
        limit = min(600.0, max(1.0, given.left_s() - 4.0))
        subprocess.run(command, cwd=ROOT, env=own, stdout=said, stderr=said, timeout=limit, check=False)
    told = (folder / "said").read_text()
    sys.stderr.write(told[-18_000:])
    if not (folder / "found.xml").exists():
        passed = len(re.findall(r"^\[gw.*PASSED", told, re.MULTILINE))
        for name in re.findall(r"^\[gw.*(?:FAILED|ERROR) (.*)", told, re.MULTILINE):
            given.record("tests", name, 0.0, "passed", error="failed; see gpu.log")
        given.record("tests", "pytest", float(passed), "tests passed", error=f"did not end: {told[-200:]}")
        return
    passed = 0
    for case in ElementTree.parse(folder / "found.xml").iter("testcase"):
        failed = [part for part in case if part.tag in ("failure", "error", "skipped")]
        passed += not failed
        if failed:
            said = (failed[0].get("message") or "").strip() or failed[0].tag
            given.record("tests", f"{case.get('classname')}::{case.get('name')}", 0.0, "passed", error=said[:400])
    given.record("tests", "pytest", float(passed), "tests passed")


def search(given: Given) -> Iterator[None]:
    """Record the seconds of `python -m tune_lb search quickstart` by the workers on the device, start and metrics included."""
    yield
    smaller = {"candidates": 2, "decide_blocks": 2, "confirm_blocks": 2, "confirm_seeds": 4, "block_seeds": 1}
    known = {field.name for field in dataclasses.fields(Space)}
    fields = [f"{name}={value}" for name, value in smaller.items() if name in known]
    counts: tuple[int | str, ...] = (1,) if given.small else (2, 1, 4, "auto")
    for workers in counts:
        what = f"{workers} worker{'s' * (workers != 1)}"
        with given.trying("search", what), tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "tune_lb", "search", "quickstart", "--name", "timed", "--storage", folder]
            command += ["--num-samples", "1" if given.small else "4", *fields]
            if isinstance(workers, int):
                command += ["--max-concurrent", str(workers)]
            share = workers if isinstance(workers, str) else str(1 / workers)
            command += ["--gpus-per-trial", share] if given.on_gpu else []
            command += ["--dry-run"] if given.small else []
            started = time.perf_counter()
            done = subprocess.run(
                command,
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=min(600.0, max(1.0, given.left_s())),
                check=False,
            )
            taken = time.perf_counter() - started
            sys.stderr.write(f"{what}: exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}\n")
            said = "" if done.returncode == 0 else f"exit {done.returncode}: {(done.stderr or done.stdout)[-300:]}"
            about = {"network": "quickstart", "error": said}
            given.record("search", what, taken, "s", n=1, **about)
            members = len(list(Path(folder).rglob("*.members.parquet")))
            given.record("search", what, members, "files of members", **about)
