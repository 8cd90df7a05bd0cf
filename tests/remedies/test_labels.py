"""Label smoothing and mixup against losses of explicit label distributions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import beta, kstest

from tests.trainings import batch, flat, history, refusals, training, trajectory, trial
from tune_lb.losses import cross_entropy
from tune_lb.optimizers.elementwise import SGD
from tune_lb.remedies.label_smoothing import LabelSmoothing
from tune_lb.remedies.mixup import Mixup
from tune_lb.remedies.sam import SAM
from tune_lb.schedules import Constant
from tune_lb.streams import generator
from tune_lb.training.gradient import by_autograd, mean_gradient, on_targets

WAYS = ["alone", "together"]


def logits(num=6, classes=4, seed=0):
    draws = torch.Generator().manual_seed(seed)
    outputs = 3 * torch.randn(num, classes, generator=draws).double()
    return outputs, torch.randint(classes, (num,), generator=draws)


def against(distribution, outputs):
    """Cross entropy of each example against a distribution over classes."""
    return -(distribution * (outputs - outputs.logsumexp(-1, keepdim=True))).sum(-1)


@pytest.mark.parametrize("smoothing", [0.1, 0.5, 0.99])
def test_smoothed_labels_are_a_distribution_over_all_classes(smoothing):
    outputs, targets = logits()
    step = batch(outputs, targets, {"label_smoothing.smoothing": smoothing})
    found = LabelSmoothing(smoothing).loss(on_targets(cross_entropy))(outputs, step)
    labels = (1 - smoothing) * F.one_hot(targets, 4).double() + smoothing / 4
    torch.testing.assert_close(found, against(labels, outputs), rtol=1e-13, atol=1e-13)
    theirs = F.cross_entropy(outputs, targets, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(found, theirs, rtol=1e-13, atol=1e-13)


def test_smoothing_needs_classes():
    def squared(outputs, targets):
        return (outputs - targets[:, None]).square().sum(-1)

    (line,) = LabelSmoothing(0.1).conflicts(trial(loss=squared), 24, torch.nn.Identity())
    assert "label_smoothing needs loss = cross_entropy" in line
    assert "squared" in line
    assert "below 1" in LabelSmoothing(1.0).problems()[0]


def mixed(alpha=0.4, num=6):
    """The inputs, targets, draws of a step, and the mixture as explicit loops make it."""
    inputs, targets = logits(num)
    drawn = Mixup(alpha).draws(generator("mixup"), num, 0, inputs)
    share, order = drawn[0].item(), [int(i) for i in drawn[1:]]
    mixture = torch.stack([share * inputs[i] + (1 - share) * inputs[order[i]] for i in range(num)])
    one_hot = F.one_hot(targets, 4).double()
    labels = torch.stack([share * one_hot[i] + (1 - share) * one_hot[order[i]] for i in range(num)])
    return batch(inputs, targets, {"mixup.alpha": alpha}, {"mixup": drawn}), mixture, labels


def test_inputs_and_labels_are_mixed_alike():
    step, mixture, labels = mixed()
    changed = Mixup(0.4).batch(lambda unchanged: unchanged)(step)
    assert torch.equal(changed.targets, step.targets)
    torch.testing.assert_close(changed.inputs, mixture, rtol=1e-14, atol=1e-14)
    found = Mixup(0.4).loss(on_targets(cross_entropy))(changed.inputs, changed)
    torch.testing.assert_close(found, against(labels, mixture), rtol=1e-13, atol=1e-13)


def test_pieces_of_the_batch_keep_their_partners():
    step, mixture, labels = mixed(num=8)
    changed = Mixup(0.4).batch(lambda unchanged: unchanged)(step)
    piece = changed.piece(1, 4)
    found = Mixup(0.4).loss(on_targets(cross_entropy))(piece.inputs, piece)
    torch.testing.assert_close(found, against(labels, mixture)[1::4], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 8.0])
def test_the_share_is_a_beta_draw_and_the_partners_a_permutation(alpha):
    drawn = [Mixup(alpha).draws(generator("draw", i), 5, 0, torch.zeros(5, 2)) for i in range(400)]
    shares = torch.stack([d[0] for d in drawn]).numpy()
    assert kstest(shares, beta(alpha, alpha).cdf).pvalue > 1e-3
    assert all(sorted(d[1:].tolist()) == [0, 1, 2, 3, 4] for d in drawn)
    assert len({tuple(d[1:].tolist()) for d in drawn}) > 60


def test_mixing_mixes_less_and_less_as_alpha_falls():
    shares = [Mixup(1e-6).draws(generator("draw", i), 2, 0, torch.zeros(2, 2))[0].item() for i in range(50)]
    assert max(min(c, 1 - c) for c in shares) < 1e-9
    assert 10 < sum(c > 0.5 for c in shares) < 40


@pytest.mark.parametrize("way", WAYS)
def test_a_step_of_both_is_the_gradient_of_the_mixed_smoothed_labels(way):
    remedies = (Mixup(0.7), LabelSmoothing(0.2))
    of = trial(*remedies, optimizer=SGD(momentum=0.0), schedule=Constant(), batch_size=24)
    running = training(of, (0, 4), way)
    starts = list(running.trained())
    running.advance(1e-9)
    for start, end in zip(starts, running.trained(), strict=True):
        step = running.batches.batch(start.seed, 0)
        share, partners = step.draws["mixup"][0], step.draws["mixup"][1:].long()
        one_hot = 0.8 * F.one_hot(step.targets, 3).double() + 0.2 / 3
        labels = share * one_hot + (1 - share) * one_hot[partners]
        inputs = share * step.inputs + (1 - share) * step.inputs[partners]
        module = of.model((5,), 3).double()
        module.load_state_dict(start.params | start.buffers)
        against(labels, module(inputs)).mean().backward()
        for name, value in module.named_parameters():
            expected = start.params[name] - 0.1 * value.grad
            torch.testing.assert_close(end.params[name], expected, rtol=1e-9, atol=1e-12)


def test_both_passes_and_all_pieces_of_sam_see_one_mixture():
    step, mixture, _ = mixed(num=8)
    seen = []

    def recorded(params, buffers, batch):
        seen.append(batch.inputs)
        return torch.tensor(0.0), {"w": torch.ones(1).double()}, buffers

    gradient = SAM(rho=0.1, m=4).gradient(recorded)
    changed = Mixup(0.4).batch(lambda unchanged: unchanged)(step)
    values = {"sam.rho": torch.tensor(0.1)}
    gradient({"w": torch.zeros(1).double()}, {}, changed._replace(values=values))
    pieces = [mixture[j::2] for j in (0, 0, 1, 1)]
    assert all(torch.allclose(a, b, rtol=1e-14) for a, b in zip(seen, pieces, strict=True))


def test_evaluation_takes_the_plain_loss_and_inputs():
    of = trial(Mixup(0.7), LabelSmoothing(0.3))
    running = training(of, (0,))
    rows = history(running)
    found = {row.name: row.value for row in running.evaluate()}
    module = of.model((5,), 3).double()
    member = next(running.trained())
    module.load_state_dict(member.params | member.buffers)
    inputs, targets = running.parts.train.standardized().double(), running.parts.train.targets
    module[2].momentum = 1.0
    module(inputs)
    clean = F.cross_entropy(module.eval()(inputs), targets).item()
    assert found["train_loss"] == pytest.approx(clean, rel=1e-9)
    assert rows[-2].name == "running_train_loss"
    assert rows[-2].value != pytest.approx(clean, rel=1e-2)


def test_the_gradient_of_a_perfect_fit_pulls_the_outputs_back():
    # smoothed labels are fitted by log((1 - s + s / K) / (s / K)), not by ever larger outputs
    outputs = torch.tensor([[20.0, 0.0, 0.0, 0.0]]).double()
    module = torch.nn.Linear(1, 4, bias=False).double()
    loss = LabelSmoothing(0.1).loss(on_targets(cross_entropy))
    gradient = mean_gradient(module, loss, by_autograd)
    step = batch(torch.ones(1, 1).double(), torch.tensor([0]), {"label_smoothing.smoothing": 0.1})
    _, found, _ = gradient({"weight": outputs.T}, {}, step)
    torch.testing.assert_close(
        found["weight"].flatten(), outputs.softmax(-1)[0] - torch.tensor([0.925, 0.025, 0.025, 0.025]).double()
    )
    assert torch.isfinite(trajectory(trial(LabelSmoothing(0.1)))[0]).all()
    assert refusals(LabelSmoothing(0.1), Mixup(0.2)) == []
    assert flat(found)[0] > 0
