"""Augmentation of batches: each image as torchvision, or an explicit loop, changes it alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF

from tune_lb.data.image_transforms import crop, cutout, horizontal_flip, rotate_and_shift


def images(num=8, channels=3, height=12, width=10):
    return torch.rand(num, channels, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 1


def uniform(*shape, seed=2):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_flip_mirrors_those_below_the_probability():
    x, u = images(), uniform(8)
    y = horizontal_flip(x, u, 0.6)
    for i in range(8):
        assert torch.equal(y[i], TF.hflip(x[i]) if u[i] < 0.6 else x[i])
    assert 0 < (u < 0.6).sum() < 8
    assert torch.equal(horizontal_flip(x, u, 0.0), x)


@pytest.mark.parametrize(("padding", "reflect"), [(0, False), (3, False), (4, True), (9, True)])
def test_crop_is_a_window_of_the_padded_image(padding, reflect):
    x, u = images(), uniform(8, 2)
    y = crop(x, u, padding, fill=0.25, reflect=reflect)
    starts = set()
    for i in range(8):
        top, left = (math.floor(v * (2 * padding + 1)) for v in u[i].tolist())
        starts.add((top, left))
        pad = [(0, 0), (padding, padding), (padding, padding)]
        padded = np.pad(x[i].numpy(), pad, "reflect") if reflect else np.pad(x[i].numpy(), pad, constant_values=0.25)
        assert np.array_equal(y[i].numpy(), padded[:, top : top + 12, left : left + 10])
    assert len(starts) > 4 or padding == 0


def test_crop_reaches_every_offset_equally_often_and_no_other():
    x = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3).expand(4900, 1, 3, 3)
    y = crop(x, torch.rand(4900, 2, generator=torch.Generator().manual_seed(0)), 3)
    _, counts = torch.unique(y.flatten(1), dim=0, return_counts=True)
    # 49 offsets; where the windows at padding 3 miss the image (row or column 0 or 6: 24 of them) they look the same
    assert len(counts) == 26
    assert counts.sum() - counts.max() == pytest.approx(4900 * 25 / 49, abs=5 * math.sqrt(4900 * 0.25))
    nearly_one = torch.full((1, 2), 1 - 2**-24)
    assert torch.equal(crop(x[:1], nearly_one, 1)[0, 0, :2, :2], x[0, 0, 1:, 1:])


@pytest.mark.parametrize("bilinear", [True, False])
@pytest.mark.parametrize(("degrees", "shift"), [(10.0, 0.2), (180.0, 0.0), (0.0, 0.5), (0.0, 0.0)])
def test_rotation_and_shift_are_torchvisions(degrees, shift, bilinear):
    x, u = images(), uniform(8, 3)
    y = rotate_and_shift(x, u, degrees, shift, bilinear=bilinear)
    mode = TF.InterpolationMode.BILINEAR if bilinear else TF.InterpolationMode.NEAREST
    for i in range(8):
        angle, down, right = ((2 * u[i] - 1) * torch.tensor([degrees, shift, shift])).tolist()
        # torchvision turns clockwise here, and takes movements (right, down) in pixels
        expected = TF.affine(x[i], -angle, [10 * right, 12 * down], 1.0, [0.0, 0.0], mode)
        torch.testing.assert_close(y[i], expected, rtol=0, atol=1e-5)
    if degrees == shift == 0:
        torch.testing.assert_close(y, x)


def test_uncovered_pixels_have_the_fill():
    x = torch.full((1, 1, 8, 8), 3.0)
    y = rotate_and_shift(x, torch.tensor([[0.5, 1.0, 0.5]]), 10.0, 0.25, fill=7.0)
    expected = x.clone()
    expected[:, :, :2] = 7.0
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("size", [0, 1, 4, 5, 30])
def test_cutout_covers_the_square_about_its_centre(size):
    x, u = images(), uniform(8, 2)
    y = cutout(x, u, size, fill=-1.0)
    for i in range(8):
        row, column = math.floor(u[i, 0] * 12), math.floor(u[i, 1] * 10)
        expected = x[i].clone()
        for r in range(12):
            for c in range(10):
                if all(-(size // 2) <= d < -(-size // 2) for d in (r - row, c - column)):
                    expected[:, r, c] = -1.0
        assert torch.equal(y[i], expected)
    assert ((y == -1).sum() == 0) == (size == 0)


CASES = {
    "flip": lambda x, u, strength: horizontal_flip(x, u[:, 0], strength / 10),
    "crop": lambda x, u, strength: crop(x, u[:, :2], strength),
    "reflecting crop": lambda x, u, strength: crop(x, u[:, :2], strength, reflect=True),
    "rotation and shift": lambda x, u, strength: rotate_and_shift(x, u, 4 * strength, strength / 20),
    "cutout": lambda x, u, strength: cutout(x, u[:, :2], strength),
}


@pytest.mark.parametrize("name", CASES)
def test_members_together_tensor_strengths_and_single_precision(name):
    change = CASES[name]
    x, u = torch.stack([images(), images() * 2]), torch.stack([uniform(8, 3), uniform(8, 3, seed=5)])
    together = torch.func.vmap(change, in_dims=(0, 0, None))(x, u, torch.tensor(4.0, dtype=torch.float64))
    for member in range(2):
        alone = change(x[member], u[member], 4)
        torch.testing.assert_close(together[member], alone)
        assert not torch.equal(alone, x[member])
    single = change(x[0].float(), u[0].float(), 4)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), together[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_grey_images_without_a_channel_and_gradients_pass_through(name):
    x, u = images(channels=1), uniform(8, 3)
    assert torch.equal(CASES[name](x[:, 0], u, 4), CASES[name](x, u, 4)[:, 0])
    x.requires_grad_()
    CASES[name](x, u, 4).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad != 0).any()
