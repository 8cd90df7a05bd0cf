"""Networks of others, as a user writes them into a file beside a space, small: and data that fit them. Imported by such a space."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tune_lb.data import DataSet, DataSource, Part

SIZES = (24, 12, 12)
"""Examples to train on, for validation, for the test."""


def _set(make: Callable[[np.random.Generator, int], Any], num_classes: int = 3) -> DataSet:
    rng = np.random.default_rng(0)
    parts = [Part(*make(rng, size)) for size in SIZES]
    return DataSet("made up", num_classes, *parts)


@dataclass(frozen=True)
class Images(DataSource):
    """Images (3, 32, 32) of three classes that differ in their mean colour."""

    def load(self, split_seed: int) -> DataSet:
        def make(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
            targets = np.arange(size) % 3
            inputs = rng.normal(size=(size, 3, 32, 32)) + 2.0 * np.eye(3)[targets][:, :, None, None]
            return inputs.astype(np.float32), targets

        return _set(make)


@dataclass(frozen=True)
class Sentences(DataSource):
    """Tokens and a mask, as a tokenizer gives them; the class is the token that comes most often."""

    def load(self, split_seed: int) -> DataSet:
        def make(rng: np.random.Generator, size: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
            targets = np.arange(size) % 3
            tokens = rng.integers(4, 50, (size, 10))
            tokens[:, :5] = (targets + 1)[:, None]
            mask = (np.arange(10)[None] < rng.integers(6, 11, size)[:, None]).astype(np.int64)
            return {"input_ids": np.where(mask == 1, tokens, 0), "attention_mask": mask}, targets

        return _set(make)


@dataclass(frozen=True)
class PointSets(DataSource):
    """Sets of at most eight points (8, 3) and which of them are there."""

    def load(self, split_seed: int) -> DataSet:
        def make(rng: np.random.Generator, size: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
            targets = np.arange(size) % 3
            points = rng.normal(size=(size, 8, 3)) + np.eye(3)[targets][:, None]
            there = np.arange(8)[None] < rng.integers(2, 9, size)[:, None]
            return (points.astype(np.float32), there.astype(np.float32)), targets

        return _set(make)


@dataclass(frozen=True)
class TaggedSentences(DataSource):
    """Sequences of tokens with a tag for each; what is padding has the tag -100."""

    def load(self, split_seed: int) -> DataSet:
        def make(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
            tokens = rng.integers(1, 20, (size, 7))
            there = np.arange(7)[None] < rng.integers(3, 8, size)[:, None]
            return np.where(there, tokens, 0), np.where(there, tokens % 3, -100)

        return _set(make)


@dataclass(frozen=True)
class Prices(DataSource):
    """Real numbers that hang on five features."""

    def load(self, split_seed: int) -> DataSet:
        def make(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
            inputs = rng.normal(size=(size, 5)).astype(np.float32)
            return inputs, (inputs @ np.arange(5.0) + rng.normal(size=size)).astype(np.float32)

        return _set(make, num_classes=1)


def resnet18(shape: tuple[int, ...], classes: int) -> nn.Module:
    from torchvision.models import resnet18

    return resnet18(num_classes=classes)


def squeezenet(shape: tuple[int, ...], classes: int) -> nn.Module:
    from torchvision.models import squeezenet1_1

    return squeezenet1_1(num_classes=classes)


def mobilenet(shape: tuple[int, ...], classes: int) -> nn.Module:
    from torchvision.models import mobilenet_v3_small

    return mobilenet_v3_small(num_classes=classes)


def shufflenet(shape: tuple[int, ...], classes: int) -> nn.Module:
    from torchvision.models import shufflenet_v2_x0_5

    return shufflenet_v2_x0_5(num_classes=classes)


def googlenet(shape: tuple[int, ...], classes: int) -> nn.Module:
    from torchvision.models import googlenet

    return googlenet(num_classes=classes, aux_logits=False, init_weights=False)


def mnasnet(shape: tuple[int, ...], classes: int) -> nn.Module:
    from torchvision.models import mnasnet0_5

    return mnasnet0_5(num_classes=classes)


def efficientnet(shape: tuple[int, ...], classes: int) -> nn.Module:
    from torchvision.models import efficientnet_b0

    return efficientnet_b0(num_classes=classes)


def regnet(shape: tuple[int, ...], classes: int) -> nn.Module:
    from torchvision.models import regnet_y_400mf

    return regnet_y_400mf(num_classes=classes)


def vision_transformer(shape: tuple[int, ...], classes: int) -> nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(32, 8, 2, 2, 32, 64, dropout=0.1, attention_dropout=0.1, num_classes=classes)


def bert(shape: Any, classes: int) -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
        num_labels=classes,
    )
    return BertForSequenceClassification(config)


def distilbert(shape: Any, classes: int) -> nn.Module:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(
        vocab_size=50, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=16, num_labels=classes
    )
    return DistilBertForSequenceClassification(config)


def gpt2(shape: Any, classes: int) -> nn.Module:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(
        vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=2, num_labels=classes, pad_token_id=0
    )
    return GPT2ForSequenceClassification(config)


def vit(shape: Any, classes: int) -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        num_labels=classes,
    )
    return ViTForImageClassification(config)


def timm_resnet(shape: Any, classes: int) -> nn.Module:
    import timm

    return timm.create_model("resnet10t", num_classes=classes, drop_path_rate=0.1)


def timm_mixer(shape: Any, classes: int) -> nn.Module:
    import timm

    return timm.create_model("convnext_atto", num_classes=classes, drop_path_rate=0.1)


class DeepSets(nn.Module):
    """The mean over the points that are there."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 16))
        self.whole = nn.Sequential(nn.ReLU(), nn.Linear(16, classes))

    def forward(self, points: Tensor, there: Tensor) -> Tensor:
        weights = there / there.sum(1, keepdim=True)
        return self.whole((self.each(points) * weights[..., None]).sum(1))


def deep_sets(shape: Any, classes: int) -> nn.Module:
    return DeepSets(classes)


class Tagger(nn.Module):
    """A tag for each token."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embed, self.cell = nn.Embedding(20, 8), nn.LSTM(8, 8, batch_first=True, bidirectional=True)
        self.last = nn.Linear(16, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.last(self.cell(self.embed(tokens))[0])


def tagger(shape: Any, classes: int) -> nn.Module:
    return Tagger(classes)


def tagging_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over the tokens of each sequence that are no padding (B,)."""
    losses = F.cross_entropy(outputs.transpose(1, 2), targets, ignore_index=-100, reduction="none")
    return losses.sum(1) / (targets != -100).sum(1)


def regressor(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(math.prod(shape), 16), nn.Tanh(), nn.Linear(16, outputs), nn.Flatten(0))


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square()


@dataclass(frozen=True)
class Case:
    """A network, the data for it, and what else a space of it says."""

    model: Callable[[Any, int], nn.Module]
    data: str
    more: str = ""
    needs: str = "torchvision"


CASES = [
    *(Case(model, "Images") for model in (resnet18, squeezenet, mobilenet, shufflenet, googlenet, mnasnet)),
    *(Case(model, "Images") for model in (efficientnet, regnet, vision_transformer)),
    *(Case(model, "Sentences", needs="transformers") for model in (bert, distilbert, gpt2)),
    Case(vit, "Images", needs="transformers"),
    *(Case(model, "Images", needs="timm") for model in (timm_resnet, timm_mixer)),
    Case(deep_sets, "PointSets"),
    Case(tagger, "TaggedSentences", 'loss=tagging_loss, error="per_token",'),
    Case(regressor, "Prices", 'loss=squared, error="mean_squared",'),
]

SPACE = """
import torch
from others import {data}, {model}, {names}
from tune_lb import Arm, Epochs, Space, over

torch.set_num_threads(1)
SPACE = Space(
    question="Does it go through?", data={data}(), model={model}, {more}
    budget=Epochs(2), eta_over_b=over(1e-4, 1e-2, log=True), batch_size=8,
    arms=(Arm("small", batch_size=4), Arm("large")), baseline="small", reference="large", derived=False, placebo=False,
    num_samples=2, candidates=2, decide_blocks=1, confirm_blocks=2, block_seeds=1, metrics=("lambda_max",),
)
"""


def space_of(case: Case) -> str:
    """Return the space file of a case."""
    names = [name for name in ("tagging_loss", "squared") if name in case.more] or ["SIZES"]
    return SPACE.format(data=case.data, model=case.model.__name__, more=case.more, names=", ".join(names))


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(*(case.model.__name__ for case in CASES))
