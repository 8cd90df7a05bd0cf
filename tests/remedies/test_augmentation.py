"""Augmentation as a remedy: which images training sees, and that nothing else sees them. The image functions have own tests."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.trainings import Blobs, batch, flat, history, refusals, training, trial
from tune_lb.data.digits import Digits
from tune_lb.optimizers.elementwise import SGD
from tune_lb.remedies.augmentation import Augmentation
from tune_lb.schedules import Constant
from tune_lb.training.compiled_step import program_key
from tune_lb.training.data_checks import check_against_data

WAYS = ["alone", "together"]


def images(num=40, shape=(3, 6, 8)):
    return torch.randn(num, *shape, generator=torch.Generator().manual_seed(0)).double()


def changed(remedy, inputs):
    u = remedy.draws(torch.Generator().manual_seed(1), len(inputs), 0, inputs)
    step = batch(inputs, torch.zeros(len(inputs)), remedy.values(), {"augmentation": u})
    return remedy.batch(lambda unchanged: unchanged)(step).inputs, u


def test_half_of_the_images_are_mirrored_whole():
    inputs = images(400)
    found, _ = changed(Augmentation(flip=True), inputs)
    mirrored = [torch.equal(image, original.flip(-1)) for image, original in zip(found, inputs, strict=True)]
    kept = [torch.equal(image, original) for image, original in zip(found, inputs, strict=True)]
    assert [a or b for a, b in zip(mirrored, kept, strict=True)] == [True] * 400
    assert 160 < sum(mirrored) < 240


def test_crops_are_windows_of_the_padded_image():
    inputs = images(300)
    found, _ = changed(Augmentation(padding=2), inputs)
    padded = F.pad(inputs, (2, 2, 2, 2))
    seen = set()
    for i, image in enumerate(found):
        places = [(r, c) for r in range(5) for c in range(5) if torch.equal(image, padded[i, :, r : r + 6, c : c + 8])]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 25


def test_a_turn_by_right_angles_and_a_square():
    # angles are uniform in -90 .. 90: u = 0 is a quarter turn clockwise, u = 1/2 none
    remedy = Augmentation(rotation=90.0)
    inputs = images(2, (5, 5))
    u = torch.full((2, 8), 0.5).double()
    u[0, 3] = 0.0
    step = batch(inputs, torch.zeros(2), remedy.values(), {"augmentation": u})
    found = remedy.batch(lambda unchanged: unchanged)(step).inputs
    torch.testing.assert_close(found[0], inputs[0].rot90(-1, (0, 1)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[1], inputs[1], rtol=1e-12, atol=1e-12)
    covered = changed(Augmentation(cutout=2), images(100, (6, 8)))[0] == 0
    counts = covered.flatten(1).sum(1).tolist()
    assert set(counts) <= {1, 2, 4}
    assert counts.count(4) > 50


def test_kinds_do_not_disturb_each_other():
    inputs = images(50)
    both, u = changed(Augmentation(flip=True, padding=2), inputs)
    flipped, _ = changed(Augmentation(flip=True), inputs)
    alone, _ = changed(Augmentation(padding=2), flipped)
    assert torch.equal(both, alone)
    assert u.shape == (50, 8)
    assert 0 <= u.min() <= u.max() < 1


def test_flat_examples_are_read_as_images():
    inputs = images(30, (4, 6))
    found, _ = changed(Augmentation(flip=True, shift=0.3, image_shape=(4, 6)), inputs.flatten(1))
    expected, _ = changed(Augmentation(flip=True, shift=0.3), inputs)
    assert torch.equal(found, expected.flatten(1))
    assert not torch.equal(found, inputs.flatten(1))


@pytest.mark.parametrize("way", WAYS)
def test_training_sees_the_changed_images_and_evaluation_the_clean_ones(way):
    remedy = Augmentation(flip=True, shift=0.4, image_shape=(1, 5))
    of = trial(remedy, optimizer=SGD(momentum=0.0), schedule=Constant())
    running = training(of, (0, 3), way)
    starts = list(running.trained())
    history(running)
    for start, end in zip(starts, running.trained(), strict=True):
        module = of.model((5,), 3).double()
        module.load_state_dict(start.params | start.buffers)
        for step in range(6):
            given = running.batches.batch(start.seed, step)
            inputs = remedy.batch(lambda unchanged: unchanged)(given).inputs
            module.zero_grad()
            F.cross_entropy(module(inputs), given.targets).backward()
            with torch.no_grad():
                for value in module.parameters():
                    value -= 0.1 * value.grad
        torch.testing.assert_close(flat(end.params), flat(dict(module.named_parameters())), rtol=1e-9, atol=1e-12)
        module[2].momentum = 1.0
        train = running.parts.train
        module(train.standardized().double())
        loss = F.cross_entropy(module.eval()(train.standardized().double()), train.targets).item()
        found = {row.name: row.value for row in running.evaluate() if row.seed == start.seed}
        assert math.isclose(found["train_loss"], loss, rel_tol=1e-9)


def test_what_is_no_image_is_refused():
    assert "an example is (5,)" in refusals(Augmentation(flip=True))[0]
    assert "6 values, an example 5" in refusals(Augmentation(flip=True, image_shape=(2, 3)))[0]
    assert "augmentation.padding = 1 is not below the side" in refusals(Augmentation(padding=1, image_shape=(1, 5)))[0]
    of = trial(Augmentation(padding=4, cutout=8, image_shape=(8, 8)), data=Digits())
    (line,) = check_against_data(of, of.data.load(0))
    assert "augmentation.cutout = 8 is not below the side of the image, 8 pixels" in line
    assert refusals(Augmentation(flip=True, image_shape=(1, 5))) == []
    assert Blobs().load(0).input_shape == (5,)


def test_trials_that_turn_images_share_a_program_with_those_that_turn_them_otherwise():
    keys = [
        program_key(trial(Augmentation(flip=True, rotation=r, shift=s)), "compiled_alone")
        for r, s in [(10.0, 0.0), (5.0, 0.2), (0.0, 0.0)]
    ]
    assert keys[0] == keys[1] != keys[2]
    assert nn.Identity()(Augmentation(rotation=0.0)).is_neutral()
