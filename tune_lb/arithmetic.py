"""What float32 means on a GPU: all of its bits, unless TF32 is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch


@contextmanager
def float32(*, tf32: bool = False) -> Iterator[None]:
    """Let matrix products and convolutions of float32 tensors on a GPU use TF32 in the block or not, whatever torch was told.

    torch lets cuDNN's convolutions round to TF32 (10 bits of mantissa in place of 23) unless it is told otherwise, but no matrix
    products. Both flags are put back. Nothing is changed where there is no GPU. Cost: some microseconds.
    """
    if not torch.cuda.is_available():
        yield
        return
    cudnn, wanted = torch.backends.cudnn, "high" if tf32 else "highest"
    products: str | None = None
    convolutions: bool | None = None
    # a process that mixes torch's old and new names of these flags cannot read the old ones: it is left as it is
    with suppress(RuntimeError):
        products, convolutions = torch.get_float32_matmul_precision(), cudnn.allow_tf32
    if products is None or convolutions is None:
        yield
        return
    try:
        _set(wanted, tf32)
        yield
    finally:
        _set(products, convolutions)


def _set(products: str, convolutions: bool) -> None:
    if torch.get_float32_matmul_precision() != products:
        torch.set_float32_matmul_precision(products)
    if torch.backends.cudnn.allow_tf32 != convolutions:
        torch.backends.cudnn.allow_tf32 = convolutions
