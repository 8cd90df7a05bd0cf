"""torchvision's classification networks by name, and ResNet-50."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from tune_lb.errors import RequestError, nearest
from tune_lb.models.dropout import keyed
from tune_lb.settings.domain import Choice
from tune_lb.settings.setting import Settings, setting

STEMS = ("imagenet", "small_image")


@dataclass(frozen=True)
class TorchvisionModel(Settings):
    """A classification network of torchvision with fresh weights: resnet18, vgg16_bn, densenet121, vit_b_16, ...

    Departures: ReLUs are not in place and dropout is keyed, so that several members can train together; auxiliary outputs of
    googlenet and inception_v3 are left out. Most are made for 224 x 224 pixels; vit_* take the size of the data.
    """

    name: str = setting("resnet18", "name in torchvision.models")

    def problems(self, where: str = "") -> list[str]:
        """Also refuse a name that torchvision does not have."""
        found = super().problems(where)
        names = self.name.to_check() if isinstance(self.name, Choice) else (self.name,)
        place = f"{where or 'TorchvisionModel'}.name"
        return found + [f"{place} = {name!r}: {_unknown(name)}" for name in names if _unknown(name)]

    def __call__(self, input_shape: Sequence[int], num_classes: int) -> nn.Module:
        """Return the network for RGB images (3, H, W); raise RequestError for other shapes or an unknown name."""
        from torchvision.models import get_model

        if _unknown(self.name):
            raise RequestError(f"TorchvisionModel(name={self.name!r}): {_unknown(self.name)}")
        check_rgb(f"torchvision's {self.name}", input_shape)
        more: dict[str, object] = {}
        if self.name in ("googlenet", "inception_v3"):
            more = {"init_weights": True, "aux_logits": False}
        if self.name.startswith("vit_"):
            more["image_size"] = input_shape[1]
        try:
            module: nn.Module = get_model(self.name, weights=None, num_classes=num_classes, **more)
        except (ValueError, AssertionError) as error:
            raise RequestError(f"torchvision's {self.name} cannot be made for {tuple(input_shape)}: {error}") from error
        return vectorisable(module)


@dataclass(frozen=True)
class ResNet50(Settings):
    """torchvision's ResNet-50 with fresh weights (He et al., 2016; stride in the 3 x 3 convolutions).

    stem "imagenet": 7 x 7 convolution of stride 2 and a pool of stride 2; "small_image": a 3 x 3 convolution of stride 1 and no
    pool, which leaves four times the sides to the stages. Departure: ReLUs are not in place.

    Source: He et al., 2016; trained by Jaiswal and Taura, "Overcoming Generalization Gap in Large Mini-Batch Training of Deep
    Neural Networks".
    """

    stem: str = setting(
        "imagenet",
        "layers before the stages: imagenet leaves a quarter of the sides, small_image all of them",
        one_of=STEMS,
    )

    def __call__(self, input_shape: Sequence[int], num_classes: int) -> nn.Module:
        """Return the network for RGB images (3, H, W); raise RequestError for other shapes."""
        from torchvision.models import resnet50

        check_rgb("ResNet50", input_shape)
        module: nn.Module = resnet50(weights=None, num_classes=num_classes)
        if self.stem == "small_image":
            first = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
            module.conv1, module.maxpool = first, nn.Identity()
        return vectorisable(module)


def check_rgb(model: str, input_shape: Sequence[int]) -> None:
    """Raise RequestError, naming model and data, unless the shape is (3, H, W)."""
    shape = tuple(input_shape)
    if len(shape) == 3 and shape[0] == 3:
        return
    grey = len(shape) == 2 or (len(shape) == 3 and shape[0] == 1)
    what = f"grey images of shape {shape}" if grey else f"of shape {shape}"
    raise RequestError(
        f"{model} needs RGB images (3, height, width); the data are {what}: take one of our networks, which fit any number of "
        "channels (C1, C2, ResNet32, VGG11, SmallCNN, MLP), or RGB images"
    )


def vectorisable(module: nn.Module) -> nn.Module:
    """Return the network with ReLUs (and their like) out of place and keyed dropout, as torch.func.vmap needs."""
    for part in module.modules():
        if getattr(part, "inplace", False) is True:
            part.inplace = False  # type: ignore[assignment]
    return keyed(module)


def _unknown(name: object) -> str:
    """Return what is wrong with a name; nothing for one of torchvision's classification networks."""
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    return (
        "" if not isinstance(name, str) or name in names else f"torchvision has no such network{nearest(name, names)}"
    )
