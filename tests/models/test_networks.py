"""What holds for every network: vectorised over members it is the same, and it fits the data or says why not."""

from __future__ import annotations

import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from tune_lb.errors import RequestError
from tune_lb.models.alexnet import C1, C3
from tune_lb.models.mlp import F1, FourLayerMLP
from tune_lb.models.resnet import PreactivationBlock, ResNet, ResNet32, ResNet56, ZeroPadding
from tune_lb.models.small_cnn import SmallCNN
from tune_lb.models.torchvision_model import ResNet50, TorchvisionModel
from tune_lb.models.vgg import C2, C4, VGG11
from tune_lb.settings.identity import describe, identity
from tune_lb.training.gradient import norm

RGB = (3, 32, 32)
ALL = [
    (F1(hidden=(16,) * 5), (28, 28)),
    (FourLayerMLP(hidden=(16,) * 3), (28, 28)),
    (C1(), RGB),
    (C1(variant="code"), (28, 28)),
    (C3(), (1, 32, 32)),
    pytest.param(C2(), RGB, marks=pytest.mark.slow),
    pytest.param(C2(variant="code"), RGB, marks=pytest.mark.soak),
    pytest.param(VGG11(), (32, 32), marks=pytest.mark.slow),
    (ResNet32(width=4), RGB),
    (ResNet(depth=8, shortcut="convolution"), (28, 28)),
    (ResNet(depth=8, preactivation=True, shortcut="convolution"), RGB),
    (SmallCNN(), (28, 28)),
    pytest.param(ResNet50(stem="small_image"), (3, 16, 16), marks=pytest.mark.slow),
    (TorchvisionModel("mobilenet_v3_small"), RGB),
    pytest.param(TorchvisionModel("efficientnet_b0"), RGB, marks=pytest.mark.slow),
]


def loss_and_gradient(module, params, buffers, inputs, targets):
    def loss(point):
        updated = {name: value.clone() for name, value in buffers.items()}
        return F.cross_entropy(functional_call(module, (point, updated), (inputs,)), targets)

    gradients, value = torch.func.grad_and_value(loss)(params)
    return value, gradients


@pytest.mark.parametrize(("model", "shape"), ALL, ids=repr)
def test_two_members_together_are_each_what_it_is_alone(model, shape):
    torch.manual_seed(0)
    module = model(shape, 5).double().train()
    params = {name: p.detach() for name, p in module.named_parameters()}
    both = {name: torch.stack([p, p + 0.01 * torch.randn_like(p)]) for name, p in params.items()}
    inputs, targets = torch.randn(2, 3, *shape, dtype=torch.float64), torch.randint(5, (2, 3))
    keys = torch.randint(2**62, (2, 3))

    def one(point, buffers, x, y, key):
        keyed = {name: key if name.endswith("dropout_key") else buffer for name, buffer in buffers.items()}
        return loss_and_gradient(module, point, keyed, x, y)

    buffers = {name: torch.stack([buffer, buffer]) for name, buffer in module.named_buffers()}
    args = (both, buffers, inputs, targets, keys)
    losses, gradients = torch.func.vmap(one)(*args)
    for member in range(2):
        alone = one(*({k: v[member] for k, v in a.items()} if isinstance(a, dict) else a[member] for a in args))
        torch.testing.assert_close(losses[member], alone[0])
        # relative to the whole gradient: batch norm over few positions makes single weights' rounding errors large
        difference = {name: gradients[name][member] - expected for name, expected in alone[1].items()}
        assert norm(difference) < 1e-8 * norm(alone[1])
    assert losses[0] != losses[1]


def test_a_preactivation_block_by_its_formula():
    torch.manual_seed(0)
    block = PreactivationBlock(4, 8, 2, projected=False).double().eval()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    for layer in (block.bn1, block.bn2):
        layer.weight.data.uniform_(0.5, 2.0)
        layer.running_mean.uniform_(-1, 1)

    def relu_of_normalised(layer, y):
        scale = (layer.weight / (layer.running_var + 1e-5).sqrt())[:, None, None]
        return (scale * (y - layer.running_mean[:, None, None]) + layer.bias[:, None, None]).clamp(min=0)

    inner = F.conv2d(relu_of_normalised(block.bn1, x), block.conv1.weight, stride=2, padding=1)
    expected = F.conv2d(relu_of_normalised(block.bn2, inner), block.conv2.weight, padding=1)
    expected[:, :4] += x[:, :, ::2, ::2]
    torch.testing.assert_close(block(x), expected)


def test_the_longest_path_has_the_depth_in_the_name():
    for model, depth in ((ResNet32(), 32), (ResNet56(), 56), (ResNet(depth=8), 8)):
        weights = [p for p in model(RGB, 10).modules() if isinstance(p, nn.Conv2d | nn.Linear)]
        assert len(weights) == depth
        assert sum(isinstance(p, ZeroPadding) for p in model(RGB, 10).modules()) == 2


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (C1(), (64,), ["C1", "(64,)", "MLP"]),
        (C1(), (28, 28), ["C1", "at least 29 x 29", "28 x 28"]),
        (C2(), (28, 28), ["C2", "at least 32 x 32", "28 x 28"]),
        (C4(), (3, 31, 40), ["C4", "31 x 40"]),
        (SmallCNN(), (3, 9, 9), ["SmallCNN", "at least 10 x 10"]),
        (ResNet50(), (28, 28), ["ResNet50", "RGB", "grey", "(28, 28)"]),
        (TorchvisionModel("resnet18"), (1, 32, 32), ["resnet18", "RGB", "grey"]),
        (TorchvisionModel("resnet18"), (64,), ["resnet18", "RGB", "(64,)"]),
        (TorchvisionModel("resnet-18"), RGB, ["did you mean 'resnet18'?"]),
        (TorchvisionModel("vit_b_16"), (3, 33, 33), ["vit_b_16", "(3, 33, 33)"]),
    ],
)
def test_data_of_another_shape_get_one_error_that_names_both(model, shape, words):
    with pytest.raises(RequestError) as raised:
        model(shape, 10)
    (line,) = raised.value.problems
    for word in words:
        assert word in line


def test_the_smallest_images_that_are_taken_do_pass():
    for model, side in ((C1(), 29), (C1(variant="code"), 1), (C2(), 32), (SmallCNN(), 10), (ResNet(depth=8), 1)):
        assert model((3, side, side), 7).eval()(torch.zeros(1, 3, side, side)).shape == (1, 7)


@pytest.mark.parametrize(
    ("model", "word"),
    [
        (TorchvisionModel("resnet-18"), "did you mean 'resnet18'?"),
        (C1(variant="papre"), "did you mean 'paper'?"),
        (ResNet(depth=33), "6 n + 2"),
        (ResNet50(stem="small"), "did you mean 'small_image'?"),
        (SmallCNN(dropout=1.0), "below 1"),
    ],
)
def test_wrong_fields_are_problems_of_the_space(model, word):
    (line,) = model.problems()
    assert word in line


def test_networks_compare_hash_pickle_and_are_described():
    assert pickle.loads(pickle.dumps(C2(variant="code"))) == C2(variant="code")
    assert len({C1(), C1(), C3(), C1(variant="code")}) == 3
    assert identity(C1()) != identity(C3())
    assert [describe(m) for m in (F1(), C3(), ResNet32(), TorchvisionModel("vgg11"))] == [
        "F1()",
        "C3()",
        "ResNet32()",
        "TorchvisionModel(name='vgg11')",
    ]
