"""The small convolutional network of a study of SAM with large batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from tune_lb.models.dropout import keyed
from tune_lb.models.images import image_input
from tune_lb.settings.setting import Settings, setting

PLACES = ("last_pool", "each_pool")


@dataclass(frozen=True)
class SmallCNN(Settings):
    """2 x (3 x 3 convolution, ReLU, pool of 2) with 32 and 64 filters, dropout, one dense layer. No batch norm.

    Source: Surlemont et al., "Large batch sizes for Deep Learning". The text gives filters and order, not sizes: these are those of
    Keras' example for MNIST, which has this shape (convolutions without padding, one dropout of 0.5 before the dense layer). The
    text has "intermediate maxpooling and drop-out layers", several: dropout_after="each_pool".
    """

    dropout: float = setting(0.5, "probability that a feature is zero while training; 0: none", low=0.0, below=1.0)

    dropout_after: str = setting(
        "last_pool",
        "where dropout stands: before the dense layer alone, or after each pool",
        one_of=PLACES,
        added_later=True,
    )

    def __call__(self, input_shape: Sequence[int], num_classes: int) -> nn.Module:
        """Return the network for images of at least 10 x 10; raise RequestError for others."""
        channels, height, width, leading = image_input("SmallCNN", input_shape, smallest=10)
        layers = leading
        for fan_in, fan_out in ((channels, 32), (32, 64)):
            layers += [nn.Conv2d(fan_in, fan_out, 3), nn.ReLU(), nn.MaxPool2d(2)]
            height, width = (height - 2) // 2, (width - 2) // 2
            if fan_out == 32 and self.dropout_after == "each_pool":
                layers.append(nn.Dropout(self.dropout))
        features = 64 * height * width
        return keyed(nn.Sequential(*layers, nn.Flatten(), nn.Dropout(self.dropout), nn.Linear(features, num_classes)))
