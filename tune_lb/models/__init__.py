"""Networks: the papers' own and torchvision's, their starts, and dropout that is the same in every way of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tune_lb.lazy import face

if TYPE_CHECKING:
    from tune_lb.models.alexnet import C1 as C1
    from tune_lb.models.alexnet import C3 as C3
    from tune_lb.models.dropout import KeyedDropout as KeyedDropout
    from tune_lb.models.dropout import keyed as keyed
    from tune_lb.models.initialization import Initialization as Initialization
    from tune_lb.models.mlp import F1 as F1
    from tune_lb.models.mlp import F2 as F2
    from tune_lb.models.mlp import MLP as MLP
    from tune_lb.models.mlp import FourLayerMLP as FourLayerMLP
    from tune_lb.models.resnet import ResNet as ResNet
    from tune_lb.models.resnet import ResNet32 as ResNet32
    from tune_lb.models.resnet import ResNet56 as ResNet56
    from tune_lb.models.small_cnn import SmallCNN as SmallCNN
    from tune_lb.models.stored_weights import StoredWeights as StoredWeights
    from tune_lb.models.torchvision_model import ResNet50 as ResNet50
    from tune_lb.models.torchvision_model import TorchvisionModel as TorchvisionModel
    from tune_lb.models.vgg import C2 as C2
    from tune_lb.models.vgg import C4 as C4
    from tune_lb.models.vgg import VGG11 as VGG11

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "tune_lb.models.alexnet": "C1 C3",
        "tune_lb.models.dropout": "KeyedDropout keyed",
        "tune_lb.models.initialization": "Initialization",
        "tune_lb.models.mlp": "F1 F2 FourLayerMLP MLP",
        "tune_lb.models.resnet": "ResNet ResNet32 ResNet56",
        "tune_lb.models.small_cnn": "SmallCNN",
        "tune_lb.models.stored_weights": "StoredWeights",
        "tune_lb.models.torchvision_model": "ResNet50 TorchvisionModel",
        "tune_lb.models.vgg": "C2 C4 VGG11",
    },
)
