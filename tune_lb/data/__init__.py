"""Data sets on the device: published ones, and the user's own files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tune_lb.lazy import face

if TYPE_CHECKING:
    from tune_lb.data.caltech import Caltech101 as Caltech101
    from tune_lb.data.cifar import CIFAR10 as CIFAR10
    from tune_lb.data.cifar import CIFAR100 as CIFAR100
    from tune_lb.data.dataset import DataSet as DataSet
    from tune_lb.data.dataset import DataSource as DataSource
    from tune_lb.data.dataset import Part as Part
    from tune_lb.data.digits import Digits as Digits
    from tune_lb.data.mnist import MNIST as MNIST
    from tune_lb.data.mnist import FashionMNIST as FashionMNIST
    from tune_lb.data.tiny_imagenet import TinyImageNet as TinyImageNet
    from tune_lb.data.user_files import TIMIT as TIMIT
    from tune_lb.data.user_files import Arrays as Arrays
    from tune_lb.data.user_files import ImageFolder as ImageFolder

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "tune_lb.data.caltech": "Caltech101",
        "tune_lb.data.cifar": "CIFAR10 CIFAR100",
        "tune_lb.data.dataset": "DataSet DataSource Part",
        "tune_lb.data.digits": "Digits",
        "tune_lb.data.mnist": "FashionMNIST MNIST",
        "tune_lb.data.tiny_imagenet": "TinyImageNet",
        "tune_lb.data.user_files": "Arrays ImageFolder TIMIT",
    },
)
