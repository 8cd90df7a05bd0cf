"""float32 on a GPU: no TF32 while something is trained in fp32, evaluated or measured; torch's flags are put back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.trainings import trial
from tune_lb.arithmetic import float32
from tune_lb.data.device import on_device
from tune_lb.metrics.measuring import measure
from tune_lb.training.training import Training


def flags():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert flags() == ("highest", True)
    yield
    assert flags() == ("highest", True)


def test_within_a_block_both_flags_are_what_is_asked_for(as_on_a_gpu):
    with float32(tf32=True):
        assert flags() == ("high", True)
        with float32():
            assert flags() == ("highest", False)
        assert flags() == ("high", True)
    with pytest.raises(ValueError, match="mine"), float32():
        raise ValueError("mine")


def test_without_a_gpu_nothing_is_touched():
    with float32():
        assert flags() == ("highest", True)


class Seeing(nn.Module):
    """A linear network that notes the flags of every pass."""

    def __init__(self, width, num_classes):
        super().__init__()
        self.layer, self.seen = nn.Linear(width, num_classes), []

    def forward(self, inputs):
        SEEN.append((self.training, *flags()))
        return self.layer(inputs.flatten(1))


SEEN: list[tuple[bool, str, bool]] = []


def network(input_shape, num_classes):
    return Seeing(input_shape[0], num_classes)


@pytest.mark.parametrize(("precision", "expected"), [("fp32", ("highest", False)), ("tf32", ("high", True))])
@pytest.mark.parametrize("execution", ["alone", "plain", "together"])
def test_training_has_what_its_precision_says_and_evaluation_is_in_float32(as_on_a_gpu, precision, expected, execution):
    of = trial(model=network, precision=precision)
    training = Training(of, (0, 1), on_device(of.data.load(0), "cpu"), execution=execution)
    SEEN.clear()
    training.advance()
    training.gradients()
    training.evaluate()
    assert set(SEEN) == {(True, *expected), (False, "highest", False)}


def test_a_metric_is_measured_in_float32(as_on_a_gpu):
    torch.manual_seed(0)
    SEEN.clear()
    found = measure(Seeing(3, 2), nn.CrossEntropyLoss(), torch.randn(8, 3), torch.randint(2, (8,)), "lambda_max")
    assert found["lambda_max"] is not None
    assert {seen[1:] for seen in SEEN[2:]} == {("highest", False)}
