"""Trees of tensors."""

from __future__ import annotations

import pytest
import torch

from tune_lb.training.gradient import Batch
from tune_lb.trees import first_leaf, leaves, mapped, named_leaves


def test_a_tensor_is_a_tree_of_one_leaf():
    x = torch.arange(3)
    assert leaves(x) == [x]
    assert first_leaf(x) is x
    assert torch.equal(mapped(lambda leaf: leaf + 1, x), x + 1)


def test_leaves_have_names_and_keep_their_places():
    tree = {"ids": 1, "more": (2, [3])}
    assert named_leaves(tree) == {"ids": 1, "more.0": 2, "more.1.0": 3}
    assert mapped(lambda a, b: a + b, tree, {"ids": 10, "more": (20, [30])}) == {"ids": 11, "more": (22, (33,))}


def test_a_tree_without_leaves_is_refused():
    with pytest.raises(ValueError, match="needs at least one"):
        first_leaf({})


def test_a_piece_of_a_batch_takes_its_rows_of_every_leaf():
    tree = (torch.arange(6), {"mask": torch.arange(12).view(6, 2)})
    batch = Batch(tree, torch.arange(6), torch.tensor(0), {}, {})
    piece = batch.piece(1, 3)
    assert piece.inputs[0].tolist() == [1, 4]
    assert piece.inputs[1]["mask"][:, 0].tolist() == [2, 8]
    assert batch.size == 6
    assert piece.size == 2
