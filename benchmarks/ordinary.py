"""The ordinary way to train: a torchvision data set, a DataLoader with workers, and the standard loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler
from torchvision import datasets, transforms

from tune_lb.data.dataset import DataSet

Batches = Iterator[tuple[Tensor, Tensor]]


class Images(datasets.CIFAR10):
    """torchvision's CIFAR10 over the train part of any data set of images: only the reading of files is left out.

    An item is the array made an image and put through transforms, as everywhere in torchvision.
    """

    def __init__(self, data: DataSet) -> None:
        channels = len(data.offset) if isinstance(data.offset, tuple) else 1
        offset, scale = (np.broadcast_to(np.asarray(v), channels) / 255 for v in (data.offset, data.scale))
        normalized = transforms.Compose([transforms.ToTensor(), transforms.Normalize(offset.tolist(), scale.tolist())])
        datasets.VisionDataset.__init__(self, transform=normalized)
        inputs = data.train.inputs
        if inputs.ndim == 2:
            inputs = inputs.reshape(len(inputs), *(round(inputs.shape[1] ** 0.5),) * 2)
        self.data: Any = inputs if inputs.ndim == 3 else np.ascontiguousarray(inputs.transpose(0, 2, 3, 1))
        self.targets: Any = data.train.targets.tolist()


def loader(data: DataSet, batch_size: int, steps: int, workers: int, device: str) -> DataLoader[Any]:
    """Return the DataLoader whose every pass gives so many shuffled batches and leaves its workers with nothing to do."""
    images = Images(data)
    return DataLoader(
        images,
        batch_size,
        sampler=RandomSampler(images, num_samples=steps * batch_size),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device != "cpu",
        multiprocessing_context="forkserver" if workers else None,  # a process in which JAX runs must not fork
    )


def updates(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    device: str,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> list[Tensor]:
    """Make one update with each batch and return the losses."""
    losses = []
    for inputs, targets in batches:
        inputs, targets = inputs.to(device, non_blocking=True), targets.to(device, non_blocking=True)
        if inputs.dim() == 4:
            inputs = inputs.to(memory_format=memory_format)
        optimizer.zero_grad()
        loss = F.cross_entropy(network(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def seconds(start: Callable[[], Batches], train: Callable[[Batches], list[Tensor]], device: str) -> float:
    """Return the seconds that a pass takes once its first batch is there, until the losses are known."""
    batches = start()
    first = next(batches)
    started = time.perf_counter()

    def following() -> Batches:
        yield first
        yield from batches

    torch.stack(train(following())).tolist()
    return time.perf_counter() - started
