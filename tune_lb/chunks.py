"""Chunks: how many examples a pass without training takes at a time."""

from __future__ import annotations

from torch import Tensor

MAX_CHUNK_ELEMENTS = 2**21
"""Largest number of input elements in a chunk whose size nobody has given: 2,048 MNIST images, 682 CIFAR images."""


def chunk_size(inputs: Tensor) -> int:
    """Return the size of the fewest equal chunks of inputs (N, ...) of at most MAX_CHUNK_ELEMENTS elements each."""
    largest = max(1, MAX_CHUNK_ELEMENTS // max(1, inputs[0].numel()))
    num_chunks = -(-len(inputs) // largest)
    return -(-len(inputs) // num_chunks)
