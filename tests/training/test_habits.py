"""What a network is known to do in a forward pass, and how its kernels therefore lie in memory."""

from __future__ import annotations

import pytest
import torch

from tests.same_numbers import Images
from tests.trainings import parts_of, trial
from tune_lb.models.small_cnn import SmallCNN
from tune_lb.training import habits
from tune_lb.training.training import Training

USES = (26 * 26 * 32 * 9 + 11 * 11 * 64 * 32 * 9) / (32 * 9 + 64 * 32 * 9)
"""SmallCNN on 28 x 28: outputs of each convolution times its weights, over all weights."""


@pytest.mark.parametrize(("fewest", "is_last"), [(4 * USES - 1, True), (4 * USES + 1, False)])
def test_kernels_have_channels_last_where_an_update_uses_each_weight_often(monkeypatch, fewest, is_last):
    monkeypatch.setattr(habits, "_known", {})
    monkeypatch.setattr(habits, "FEWEST_USES", fewest)
    of = trial(data=Images(), model=SmallCNN(), batch_size=4)
    running = Training(of, [0], parts_of(of))
    assert running.habits.uses == pytest.approx(USES)
    kernels = [value for value in running.groups[0].params.values() if value.dim() == 4 and value.shape[1] > 1]
    assert [value.is_contiguous(memory_format=torch.channels_last) for value in kernels] == [is_last]
