"""What a measurement on a device is: its rows, its clock, and the trainings that it times."""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import platform
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from tune_lb.budgets import Updates
from tune_lb.data.dataset import DataSet, DataSource, Part
from tune_lb.losses import cross_entropy
from tune_lb.optimizers.elementwise import SGD
from tune_lb.schedules import Constant
from tune_lb.settings.setting import setting
from tune_lb.training.remedy import Remedy
from tune_lb.training.trial import Model, Trial

LR, MOMENTUM = 1e-3, 0.9
ROUNDS = 5

FLAGS = {"fp32": False, "tf32": True, "bf16": True}
"""By precision whether TF32 is allowed, in matrix products and convolutions alike."""


class OutOfTime(BaseException):
    """The time of a measurement is over."""


@dataclass
class Given:
    """What a measurement is asked for, and what it has found so far."""

    device: str
    small: bool
    """A stand-in: everything runs, nothing is worth reading."""
    window_s: float = 0.4
    """How long a thing is timed for, in rounds."""
    rest_s: float = 60.0
    """How long the measurement may take as a whole."""
    keep: Callable[[dict[str, Any]], None] = lambda row: None
    rows: list[dict[str, Any]] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    @property
    def on_gpu(self) -> bool:
        """Say whether there is a GPU."""
        return self.device != "cpu"

    def left_s(self) -> float:
        """Return the time left."""
        return self.rest_s - (time.monotonic() - self.begun)

    def record(self, what: str, way: str, value: float | None, unit: str, **more: Any) -> None:
        """Keep a row at once, so that it is there whatever comes next."""
        row = {"what": what, "way": way, "value": value, "unit": unit, **more}
        self.rows.append(row)
        self.keep(row)

    @contextlib.contextmanager
    def trying(self, what: str, way: str, **more: Any) -> Iterator[None]:
        """Let a failure be a row, and go on; without time left raise OutOfTime."""
        if self.left_s() < 0:
            self.record(what, way, None, "", error="left out, and what follows: no time", **more)
            raise OutOfTime
        try:
            yield
        except Exception as error:  # whatever fails on a device that this has never run on is a finding
            # compilers say what was wrong on a line after the first
            said = " | ".join(line.strip() for line in str(error).splitlines()[:6] if line.strip())
            self.record(what, way, None, "", error=f"{type(error).__name__}: {said}"[:800], **more)
            traceback.print_exc()
        finally:
            if self.on_gpu:
                gc.collect()
                with contextlib.suppress(Exception):
                    torch.cuda.empty_cache()

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def seconds(self, call: Callable[[], Any]) -> tuple[float, int]:
        """Return the median seconds of a call, and of how many calls, waiting for the device at the end of a round alone."""
        call()
        self.synchronize()
        started = time.perf_counter()
        call()
        self.synchronize()
        once = time.perf_counter() - started
        number = max(1, min(200, round(self.window_s / ROUNDS / max(once, 1e-6))))
        times = []
        for _ in range(2 if self.small else ROUNDS):
            started = time.perf_counter()
            for _ in range(number):
                call()
            self.synchronize()
            times.append((time.perf_counter() - started) / number)
        return statistics.median(times), number * len(times)


def versions() -> str:
    """Return what was measured with."""
    cuda = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return f"torch {torch.__version__}, {cuda}, Python {platform.python_version()}"


def device_name(device: str) -> str:
    """Return the name of the device."""
    return (
        torch.cuda.get_device_name() if device != "cpu" else f"{platform.processor() or platform.machine()} (stand-in)"
    )


def numbers_like(precision: str) -> None:
    """Let float32 be float32 or TF32, in everything that follows."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = FLAGS[precision]


@dataclass(frozen=True)
class Pixels(DataSource):
    """Random images in so many classes, each class around one of its own, as bytes."""

    num_train: int = setting(1024, "examples to train on", low=1)
    shape: tuple[int, ...] = setting((3, 32, 32), "of an image")
    num_classes: int = setting(10, "classes", low=2)

    def load(self, split_seed: int) -> DataSet:
        """Return one part of images three times."""
        rng = np.random.default_rng(split_seed)
        targets = rng.integers(self.num_classes, size=self.num_train)
        centres = rng.integers(96, size=(self.num_classes, *self.shape), dtype=np.uint8)
        noise = rng.integers(160, size=(self.num_train, *self.shape), dtype=np.uint8)
        part = Part(noise + centres[targets], targets)
        ends: Any = ((127.0,) * 3, (60.0,) * 3) if len(self.shape) == 3 else (127.0, 60.0)
        return DataSet("pixels", self.num_classes, part, part, part, *ends)


def trial_of(model: Model, data: DataSource, batch_size: int, *remedies: Remedy, **settings: Any) -> Trial:
    """Return a training without an end."""
    chosen: dict[str, Any] = {
        "arm": "timed",
        "data": data,
        "model": model,
        "optimizer": SGD(momentum=MOMENTUM),
        "schedule": Constant(),
        "budget": Updates(200_000),
        "loss": cross_entropy,
        "batch_size": batch_size,
        "lr": LR,
        "remedies": remedies,
    }
    return Trial(**(chosen | settings))


def resnet50(input_shape: Any, num_classes: int) -> nn.Module:
    """Return torchvision's, for images of any size."""
    from torchvision.models import resnet50 as network

    return network(num_classes=num_classes)


def vgg11(input_shape: Any, num_classes: int) -> nn.Module:
    """Return torchvision's, which has no batch norm."""
    from torchvision.models import vgg11 as network

    return network(num_classes=num_classes, dropout=0.0)


def orders(num_train: int, batch_size: int, members: int, device: str) -> Iterator[torch.Tensor]:
    """Yield for every update the examples of each member, (members, B), from one permutation after the other."""
    while True:
        order = torch.rand(members, num_train, device=device).argsort(1)
        yield from itertools.islice(order.split(batch_size, 1), num_train // batch_size)


autocast = functools.partial(torch.autocast, dtype=torch.bfloat16)
