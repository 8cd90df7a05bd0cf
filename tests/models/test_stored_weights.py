"""A start from stored weights."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch

from tests.trainings import flat, history, training, trial
from tune_lb.errors import RequestError
from tune_lb.models.mlp import MLP
from tune_lb.models.stored_weights import StoredWeights
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.settings.identity import identity
from tune_lb.training.data_checks import check_against_data


@pytest.fixture
def stored(tmp_path):
    """Return the path of the weights of a trained member, and the member."""
    running = training(trial(), (3,), dtype=torch.float32)
    history(running)
    member = next(running.trained())
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({k: v.contiguous() for k, v in (member.params | member.buffers).items()}, path)
    return path, member


@pytest.mark.parametrize("remedies", [(), (GhostBatchNorm(ghost_batch_size=4),)], ids=["plain", "ghost"])
def test_every_member_starts_there_and_goes_its_own_way(stored, remedies):
    path, member = stored
    of = trial(*remedies, initialization=StoredWeights(str(path)))
    assert check_against_data(of, of.data.load(0)) == []
    running = training(of, (0, 1), dtype=torch.float32)
    for start in running.iterates().values():
        assert torch.equal(flat(start[0]), flat(member.params))
        assert all(torch.equal(start[1][name], value) for name, value in member.buffers.items())
    history(running)
    first, second = (flat(found.params) for found in running.trained())
    assert not torch.equal(first, second)


def test_the_content_is_the_identity_and_the_row_says_the_path(stored, tmp_path):
    path, _ = stored
    weights = StoredWeights(str(path))
    assert str(path) in trial(initialization=weights).columns()["initialization"]
    before = trial(initialization=weights).trial_id("data")
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file({name: value + 1 for name, value in tensors.items()}, path)
    assert trial(initialization=StoredWeights(str(path))).trial_id("data") != before
    assert identity(weights) != identity(StoredWeights(str(path)))
    with pytest.raises(RequestError, match="is not the one that the space was made with"):
        weights(MLP(hidden=(6,))((5,), 3))


def test_the_file_of_another_network_is_refused(stored):
    path, _ = stored
    for model, words in (
        (MLP(hidden=(7,)), "has another shape of"),
        (MLP(hidden=(6, 6)), "lacks"),
        (MLP(hidden=(), batch_norm=False), "has, unlike the network,|has another shape of|lacks"),
    ):
        of = trial(model=model, initialization=StoredWeights(str(path)))
        with pytest.raises(RequestError, match=words):
            raise RequestError(check_against_data(of, of.data.load(0)))


def test_a_missing_or_damaged_file_is_said_before_training(tmp_path):
    path = tmp_path / "none.safetensors"
    for words in ("there is no such file", "damaged"):
        of = trial(initialization=StoredWeights(str(path)))
        found = check_against_data(of, of.data.load(0))
        assert len(found) == 1
        assert words in found[0]
        path.write_bytes(b"\x09")
