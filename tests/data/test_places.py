"""Relative paths of data are looked up beside the space file, then under TUNE_LB_DATA."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from tune_lb.data import Arrays, ImageFolder
from tune_lb.data.places import look_beside
from tune_lb.errors import RequestError
from tune_lb.settings.identity import describe
from tune_lb.space.loading import load_space

SPACE = """
from tune_lb import Arm, Space
from tune_lb.data import Arrays
from tune_lb.models import MLP
SPACE = Space(question="?", data=Arrays("photos.npz", num_test=2), model=MLP(), batch_size=4, lr=0.1, arms=(Arm("a"),))
"""


@pytest.fixture
def places(tmp_path, monkeypatch):
    for name in ("beside", "root", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TUNE_LB_DATA", str(tmp_path / "root"))
    monkeypatch.setattr("tune_lb.data.places._folder", [])
    (tmp_path / "beside" / "space_of_photos.py").write_text(SPACE)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def photos(folder, value):
    np.savez(folder / "photos.npz", features=np.full((8, 3), value, np.float32), labels=np.arange(8) % 2)


def test_b15_the_space_file_comes_first_then_tune_lb_data(places):
    photos(places / "root", 1.0)
    space = load_space(str(places / "beside" / "space_of_photos.py")).space
    assert space.data.load(0).train.inputs[0, 0] == 1.0
    photos(places / "beside", 2.0)
    assert space.data.load(0).train.inputs[0, 0] == 2.0


def test_b15_a_source_knows_its_space_in_another_process_and_after_others(places):
    photos(places / "beside", 2.0)
    data = load_space(str(places / "beside" / "space_of_photos.py")).space.data
    changed = dataclasses.replace(data, num_train=3)
    look_beside(places / "root")
    for source in (data, changed, pickle.loads(pickle.dumps(data))):
        assert source.load(0).train.inputs[0, 0] == 2.0


def test_b15_where_the_space_lies_is_no_part_of_what_the_data_are(places):
    data = load_space(str(places / "beside" / "space_of_photos.py")).space.data
    look_beside(places / "root")
    assert data == Arrays("photos.npz", num_test=2)
    assert hash(data) == hash(Arrays("photos.npz", num_test=2))
    assert describe(data) == describe(Arrays("photos.npz", num_test=2))
    assert "beside" not in repr(data)


@pytest.mark.parametrize("kind", [Arrays, ImageFolder])
def test_b15_both_places_are_named(places, kind):
    look_beside(places / "beside")
    with pytest.raises(RequestError) as raised:
        kind("photos").load(0)
    (line,) = raised.value.problems
    assert str(places / "beside" / "photos") in line
    assert str(places / "root" / "photos") in line
    with pytest.raises(RequestError) as raised:
        kind(str(places / "away")).load(0)
    assert str(places / "root" / "away") not in raised.value.problems[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x.npy", ["one array without labels", "numpy.savez('x.npz'"]),
        ("x.csv", ["no .npz file", "DataSource"]),
        ("x.pt", ["no .npz file"]),
    ],
)
def test_b13_other_files_get_a_line_that_helps(places, name, words):
    np.save(places / "root" / "x.npy", np.zeros(3))
    (places / "root" / "x.csv").write_text("1,2")
    (places / "root" / "x.pt").write_bytes(b"")
    with pytest.raises(RequestError) as raised:
        Arrays(name).load(0)
    (line,) = raised.value.problems
    assert all(word in line for word in words)


def test_b13_folders_of_images_and_arrays_are_told_apart(places):
    (places / "root" / "pictures" / "cat").mkdir(parents=True)
    with pytest.raises(RequestError, match=r"ImageFolder\('pictures'\)"):
        Arrays("pictures").load(0)
    photos(places / "root", 0.0)
    with pytest.raises(RequestError, match=r"Arrays\('photos.npz'\)"):
        ImageFolder("photos.npz").load(0)


def test_b15_a_recipe_finds_what_lies_beside_the_space(places):
    photos(places / "beside", 2.0)
    data = load_space(str(places / "beside" / "space_of_photos.py")).space.data
    assert data.located().path == str(places / "beside" / "photos.npz")
    look_beside(places / "elsewhere")
    assert data.located().load(0).fingerprint() == data.load(0).fingerprint()
    photos(places / "root", 1.0)
    assert Arrays("photos.npz").located().path == "photos.npz"
