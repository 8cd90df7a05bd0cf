"""Image files of every depth, turned as they say, and what lies in folders that is no image."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.data.test_files import error_of, folder_of_images
from tune_lb.data import ImageFolder
from tune_lb.data.image_files import Framing, labelled_files, read_images


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_LB_DATA", str(tmp_path))
    return tmp_path


def ramp(name, folder):
    """Write values over the whole range of a depth, 64 x 64, and return the path."""
    steps = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    path = folder / name
    if "rgb" in name:
        Image.fromarray((255 * np.stack([steps] * 3, -1)).round().astype(np.uint8)).save(path)
    elif "float" in name:
        Image.fromarray((steps * 255).astype(np.float32)).save(path)
    elif "8" in name:
        Image.fromarray((255 * steps).round().astype(np.uint8)).save(path)
    else:
        Image.fromarray((65535 * steps).round().astype(np.uint16)).save(path)
    return path


@pytest.mark.parametrize("name", ["16.png", "16.tif", "16.tiff", "float.tif", "8.png", "8.tif", "rgb.png", "16.pgm"])
def test_a8_a_ramp_over_the_whole_range_has_its_mean_in_the_middle(tmp_path, name):
    images = read_images([ramp(name, tmp_path)], 64)
    assert images.shape == (1, 3, 64, 64)
    assert images.dtype == (np.uint8 if name[0] in "8r" else np.float32)
    assert images.mean() == pytest.approx(127.5, abs=0.02)
    assert (images.min(), images.max()) == (0, 255)
    np.testing.assert_allclose(
        images[0, 0], np.linspace(0, 255, 4096).reshape(64, 64), atol=0.51 if images.dtype == np.uint8 else 0.01
    )


def png48(path, values):
    """Write values (H, W) of 16 bits as each channel of a PNG of 48 bits a pixel, which Pillow reads and cannot write."""
    height, width = values.shape
    rows = np.repeat(values[:, :, None], 3, 2).astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    )
    made = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(made))


def test_a8_color_of_sixteen_bits_is_brought_to_bytes(tmp_path):
    values = (65535 * np.linspace(0, 1, 64 * 64).reshape(64, 64)).round()
    png48(tmp_path / "x.png", values)
    images = read_images([tmp_path / "x.png"], 64)
    assert images.mean() == pytest.approx(127.5, abs=0.1)
    np.testing.assert_allclose(images[0, 2], values / 257, atol=1)


def test_a8_one_deep_image_makes_all_of_them_floating_point_on_one_scale(tmp_path):
    images = read_images([ramp("8.png", tmp_path), ramp("16.png", tmp_path)], 64)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images[0], images[1], atol=0.51)


def test_a8_values_without_a_scale_are_not_mixed_with_pixels(root):
    for kind in "ab":
        (root / "own" / kind).mkdir(parents=True)
    ramp("8.png", root / "own" / "a")
    ramp("float.tif", root / "own" / "b")
    error_of(ImageFolder("own"), "float.tif", "8.png", "no common scale")


def test_a8_depth_survives_scaling(tmp_path):
    images = read_images([ramp("16.png", tmp_path)], 16)
    assert images.mean() == pytest.approx(127.5, abs=0.5)
    assert len(np.unique(images)) > 200


def test_a8_what_is_hidden_is_no_data(root):
    folder_of_images(root / "own", 4)
    clean = ImageFolder("own", image_size=8).load(0)
    for place in ("a/.ipynb_checkpoints", "__MACOSX/a", ".hidden/a", "b/@eaDir", "b/__MACOSX"):
        (root / "own" / place).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(root / "own" / place / "0-checkpoint.png")
    for place in ("a/._0.png", "a/.DS_Store", ".DS_Store", "b/.0.jpg"):
        (root / "own" / place).write_bytes(b"no image")
    again = ImageFolder("own", image_size=8).load(0)
    assert again.fingerprint() == clean.fingerprint()
    assert again.num_classes == 2


def test_a_folder_below_a_class_is_part_of_it(root):
    folder_of_images(root / "own", 3)
    (root / "own" / "a" / "more").mkdir()
    Image.new("RGB", (8, 8)).save(root / "own" / "a" / "more" / "x.PNG")
    paths, labels, names = labelled_files(root / "own")
    assert (len(paths), list(labels), names) == (7, [0] * 4 + [1] * 3, ["a", "b"])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a8_images_are_turned_as_their_exif_tag_says(tmp_path, orientation):
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[:4] = 200
    upright[0, 0] = 255
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(read_images([tmp_path / "x.png"], 8)[0], upright.transpose(2, 0, 1))


def test_b14_empty_class_folders_are_named(root):
    folder_of_images(root / "own", 2)
    for kind in ("empty", "hollow"):
        (root / "own" / kind).mkdir()
    line = error_of(ImageFolder("own"), root / "own", "class folders empty, hollow", "delete")
    assert ".jpg" in line


@pytest.mark.parametrize("limit", ["error", "warning"])
def test_b4_an_image_too_large_to_be_meant_is_named(root, monkeypatch, limit):
    folder_of_images(root / "own", 2, size=(60, 50))
    # Pillow warns above this number of pixels and raises above twice of it
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000 if limit == "error" else 2000)
    error_of(ImageFolder("own"), root / "own" / "a" / "0.png", "pixels", "Scale it down")


def test_frames(tmp_path):
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[5:15, 15:25] = 255
    Image.fromarray(picture).save(tmp_path / "x.png")
    whole, window, bent = (
        read_images([tmp_path / "x.png"], framing)[0, 0]
        for framing in (Framing(10), Framing(10, resize=20), Framing(10, crop=False))
    )
    assert (window == 255).all()
    assert 0.2 < (whole > 127).mean() < 0.4
    assert (bent[5] > 127).sum() in (2, 3)


def test_a_frame_larger_than_the_image_is_refused():
    (line,) = ImageFolder("own", image_size=64, resize=32).problems()
    assert "resize = 32" in line
    assert ImageFolder("own", image_size=224, resize=256).problems() == []
