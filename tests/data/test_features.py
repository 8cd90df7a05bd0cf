"""Feature files as those of TIMIT: the network F2 of the same paper trains on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.trainings import trial
from tune_lb.budgets import Epochs
from tune_lb.data.device import on_device
from tune_lb.data.user_files import TIMIT, Arrays
from tune_lb.models.mlp import F2, MLP
from tune_lb.optimizers.elementwise import Adam
from tune_lb.schedules import Constant
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.training import Training


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_LB_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_f2_trains_on_feature_files_like_timits(root):
    # 360 features and 1,973 classes, fewer frames: every class has its centre
    stream = np.random.default_rng(0)
    centres = stream.normal(size=(1973, 360)).astype(np.float32)
    labels = np.concatenate([np.arange(1973), stream.integers(0, 30, 587)])
    for name, numbers in (("train", labels), ("test", labels[-64:])):
        (root / "TIMIT").mkdir(exist_ok=True)
        features = 3 * (centres[numbers] + 0.1 * stream.normal(size=(len(numbers), 360))) + 5
        np.savez(root / "TIMIT" / f"{name}.npz", features=features.astype(np.float32), labels=numbers)
    data = TIMIT(num_validation=0).load(0)
    assert (data.input_shape, data.num_classes, len(data.train.targets)) == ((360,), 1973, 2560)
    assert abs(data.standardized(data.train.inputs).mean(0)).max() < 1e-4
    of = trial(
        data=TIMIT(num_validation=0),
        model=F2(),
        optimizer=Adam(),
        schedule=Constant(),
        budget=Epochs(1.0),
        batch_size=256,
        lr=1e-3,
    )
    assert check_against_data(of, data) == []
    running = Training(of, [0], on_device(data, "cpu"), dtype=torch.float32)
    before = {row.name: row.value for row in running.evaluate()}
    running.advance()
    after = {row.name: row.value for row in running.evaluate()}
    assert after["train_loss"] < before["train_loss"] - 0.1


def test_b2_a_network_that_takes_no_whole_numbers_is_told_how_to_have_others(root):
    numbers = np.random.default_rng(0).integers(0, 9, (40, 6))
    np.savez(root / "own.npz", features=numbers, labels=np.arange(40) % 2)
    for how, problems in (("auto", 1), ("last", 0)):
        source = Arrays("own.npz", num_test=10, standardize=how)
        found = check_against_data(trial(data=source, model=MLP(hidden=(4,)), batch_size=10), source.load(0))
        assert len(found) == problems
        assert all("standardize='last'" in problem and "whole numbers" in problem for problem in found)


class Tokens:
    """An embedding and a linear layer."""

    def __call__(self, input_shape, num_classes):
        return torch.nn.Sequential(
            torch.nn.Embedding(50, 4), torch.nn.Flatten(), torch.nn.Linear(4 * input_shape[0], num_classes)
        )


def test_b2_tokens_of_a_file_reach_an_embedding(root):
    tokens = np.random.default_rng(0).integers(0, 50, (80, 5), dtype=np.int16)
    np.savez(root / "own.npz", features=tokens, labels=tokens[:, 0] % 2)
    source = Arrays("own.npz", num_test=20)
    of = trial(data=source, model=Tokens(), batch_size=10, budget=Epochs(1.0))
    assert check_against_data(of, source.load(0)) == []
    running = Training(of, [0], on_device(source.load(0), "cpu"), dtype=torch.float32)
    running.advance()
    assert running.done
