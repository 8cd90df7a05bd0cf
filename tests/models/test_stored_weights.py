"""A start from stored weights."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from torch import nn

from tests.trainings import flat, history, training, trial
from tune_lb.errors import RequestError
from tune_lb.models.mlp import MLP
from tune_lb.models.stored_weights import StoredWeights
from tune_lb.observation.outcome import outcomes
from tune_lb.remedies.adaptive_linearization import AdaptiveLinearization
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


class Tied(nn.Module):
    """Two layers with one matrix, and a table that is no part of the state."""

    def __init__(self, size=6, tied=True):
        super().__init__()
        self.first, self.a, self.b, self.last = (
            nn.Linear(5, size),
            nn.Linear(size, size),
            nn.Linear(size, size),
            nn.Linear(size, 3),
        )
        if tied:
            self.b.weight = self.a.weight
        self.register_buffer("pos", torch.arange(float(size)) / size, persistent=False)
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        return self.last(self.b(torch.tanh(self.a(self.drop(self.first(x)) + self.pos))))


def weights_of(of, path):
    """Store a trained member as a search does; return its outcome's weights."""
    running = training(of, (3,), dtype=torch.float32)
    history(running)
    (outcome,) = outcomes(running, metrics=(), wall_s=0.0)
    safetensors.torch.save_file({k: v.contiguous() for k, v in outcome.weights.items()}, path)
    return outcome.weights


@pytest.mark.parametrize(
    ("model", "remedies"),
    [
        (lambda *_: Tied(), ()),
        (MLP(hidden=(6,)), (AdaptiveLinearization(start=0.2, delta_plus=0.1, every=2, products=2),)),
        (MLP(hidden=(6,)), (AdaptiveLinearization(start=0.5, granularity="unit", every=2, products=3),)),
    ],
    ids=["tied", "slopes", "slopes by unit"],
)
def test_a_runs_own_weights_are_a_start(model, remedies, tmp_path):
    """B7: tied weights, buffers that are no part of the state, networks that a remedy changed."""
    path = tmp_path / "w.safetensors"
    stored = weights_of(trial(*remedies, model=model), path)
    of = trial(*remedies, model=model, initialization=StoredWeights(str(path)))
    assert check_against_data(of, of.data.load(0)) == []
    params, buffers = training(of, (0,), dtype=torch.float32).iterates()[0]
    for name, value in (params | buffers).items():
        if not name.endswith("dropout_key"):
            torch.testing.assert_close(value, stored[name], rtol=0, atol=0)


def test_weights_of_the_plain_network_start_one_that_a_remedy_changes(stored):
    path, member = stored
    remedy = AdaptiveLinearization(start=0.2, delta_plus=0.1, every=2, products=2)
    of = trial(remedy, initialization=StoredWeights(str(path)))
    assert check_against_data(of, of.data.load(0)) == []
    params, buffers = training(of, (0,), dtype=torch.float32).iterates()[0]
    assert all(torch.equal(params[name], value) for name, value in member.params.items())
    assert any(float(value) == pytest.approx(0.2) for name, value in buffers.items() if name not in member.buffers)


def test_weights_of_a_changed_network_do_not_start_the_plain_one(tmp_path):
    weights_of(trial(AdaptiveLinearization(start=0.2, delta_plus=0.1, every=2, products=2)), tmp_path / "w.safetensors")
    of = trial(initialization=StoredWeights(str(tmp_path / "w.safetensors")))
    (found,) = check_against_data(of, of.data.load(0))
    assert "has, unlike the network," in found


@pytest.mark.parametrize("dropped", ["a.weight", "b.weight", None])
def test_a_tied_tensor_may_be_in_a_file_under_any_of_its_names(dropped, tmp_path):
    """As torch's state_dict has it, saved with both names or either."""
    path, source, module = tmp_path / "w.safetensors", Tied(), Tied()
    safetensors.torch.save_file({k: v.clone() for k, v in source.state_dict().items() if k != dropped}, path)
    StoredWeights(str(path))(module)
    assert torch.equal(module.a.weight, source.a.weight)
    assert module.a.weight is module.b.weight
    assert torch.equal(module.pos, source.pos)


@pytest.mark.parametrize(
    ("source", "module", "words"),
    [
        (Tied(tied=False), Tied(), "different values of what is one tensor in the network, a.weight and b.weight"),
        (Tied(), Tied(tied=False), "lacks a.weight"),
        (Tied(7), Tied(), "has another shape of"),
    ],
)
def test_what_differs_is_named(source, module, words, tmp_path):
    path = tmp_path / "w.safetensors"
    drop = {"a.weight"} if source.a.weight is source.b.weight else set()
    safetensors.torch.save_file({k: v.clone() for k, v in source.state_dict().items() if k not in drop}, path)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(RequestError, match=words):
        StoredWeights(str(path))(module)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items()), "nothing was copied"
