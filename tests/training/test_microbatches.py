"""Microbatches: the same training as with whole batches, or a refusal with the reason; and how many examples fit."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from tests import trainings
from tests.trainings import EXAMPLES, parts_of, same_up_to_rounding, trial
from tune_lb.errors import RequestError
from tune_lb.losses import cross_entropy
from tune_lb.models.dropout import keyed
from tune_lb.models.mlp import MLP
from tune_lb.observation.outcome import outcomes
from tune_lb.optimizers.elementwise import Adam
from tune_lb.remedies.batch_growth import BatchGrowth
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.initial_variance_noise import InitialVarianceNoise
from tune_lb.remedies.label_smoothing import LabelSmoothing
from tune_lb.remedies.sam import SAM
from tune_lb.space.checks import space_problems
from tune_lb.space.description import description, space_hash
from tune_lb.space.loading import load_space
from tune_lb.training import microbatch_size as microbatches
from tune_lb.training.gradient import Batch, by_autograd, mean_gradient, on_targets
from tune_lb.training.microbatch_size import largest_that_fits
from tune_lb.training.microbatches import asked_problems, microbatch_problems, mixes_examples
from tune_lb.training.phase import Phase
from tune_lb.training.phased_training import begun
from tune_lb.training.pieces import over_microbatches

ACTIVE = [remedy for examples in EXAMPLES.values() for remedy in examples]
SEEDS = (0, 3)
WAYS = ["alone", pytest.param("together", marks=pytest.mark.slow)]


@dataclass(frozen=True)
class Dropping:
    """A network with keyed dropout and without batch norm."""

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return keyed(
            nn.Sequential(nn.Flatten(), nn.Linear(5, 6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, num_classes))
        )


class Centred(nn.Module):
    """A layer that is none of torch's batch norms and mixes examples all the same."""

    def forward(self, x):
        return x - x.mean(0)


class Greedy(nn.Module):
    """A linear network on a device that holds five examples."""

    def __init__(self, shape, num_classes):
        super().__init__()
        self.linear = nn.Linear(shape[0], num_classes)

    def forward(self, x):
        if x.shape[0] > 5:
            raise torch.OutOfMemoryError("more than five examples")
        return self.linear(x)


class NormalizedGreedy(Greedy):
    """The same with batch norm."""

    def __init__(self, shape, num_classes):
        super().__init__(shape, num_classes)
        self.linear = nn.Sequential(self.linear, nn.BatchNorm1d(num_classes))


def accepted(*others, **settings):
    """Return the active remedies that go with the others and the network."""
    trials = {remedy: trial(remedy, *others, **settings) for remedy in ACTIVE}
    return [
        remedy
        for remedy, of in trials.items()
        if not of.problems() and not trainings.check_against_data(of, of.data.load(0))
    ]


def run(of, microbatch, execution="alone"):
    """Return by seed weights, buffers and losses after every update."""
    running = begun(of, SEEDS, parts_of(of), execution=execution, dtype=torch.float64, microbatch=microbatch)
    seen = {seed: [] for seed in SEEDS}
    while not running.done:
        rows = running.advance(1e-9)
        for member in running.trained():
            values = [*member.params.values(), *member.buffers.values()]
            losses = [row.value for row in rows if row.seed == member.seed]
            seen[member.seed].append(torch.cat([v.double().flatten() for v in values] + [torch.tensor(losses)]))
    return {seed: torch.stack(values) for seed, values in seen.items()}


def quickstart():
    return load_space("quickstart").space


def reasons(of, microbatch):
    data = of.data.load(0)
    module = of.network(data.input_shape, data.num_classes)
    return microbatch_problems(of, microbatch, len(data.train.targets), module, data.input_shape)


@pytest.mark.parametrize("execution", WAYS)
@pytest.mark.parametrize("remedy", accepted(model=Dropping()), ids=str)
def test_without_batch_norm_every_remedy_trains_the_same(remedy, execution):
    of = trial(remedy, model=Dropping())
    whole = run(of, None, execution)
    for size in (2,) if execution == "alone" else (4, 1):
        assert reasons(of, size) == []
        assert same_up_to_rounding(whole, run(of, size, execution))


@pytest.mark.parametrize("execution", WAYS)
@pytest.mark.parametrize("remedy", accepted(GhostBatchNorm(ghost_batch_size=2)), ids=str)
def test_with_ghost_batch_norm_the_same_or_refused(remedy, execution):
    of = trial(remedy, GhostBatchNorm(ghost_batch_size=2))
    assert reasons(of, 4) == []
    assert same_up_to_rounding(run(of, None, execution), run(of, 2 if execution == "alone" else 4, execution))
    with pytest.raises(RequestError, match=r"microbatch = 1 is no multiple of ghost_batch_norm.ghost_batch_size = 2"):
        run(of, 1, execution)


@pytest.mark.parametrize("remedy", ACTIVE, ids=str)
def test_with_plain_batch_norm_refused_unless_nothing_is_parted(remedy):
    of = trial(remedy)
    if remedy.name == "ghost_batch_norm":
        return
    # nothing larger than 4 goes through the network
    if getattr(remedy, "m", None) == 4 or remedy.always_in_pieces:
        assert same_up_to_rounding(run(of, None), run(of, 4))
    else:
        assert "statistics of the whole batch" in " ".join(reasons(of, 4))
        with pytest.raises(RequestError, match="ghost_batch_norm, whose groups can stay whole"):
            run(of, 4)
    assert reasons(of, 8) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("remedies", "execution"),
    [
        ([SAM(rho=0.1, m=4), GhostBatchNorm(ghost_batch_size=2)], "compiled_alone"),
        ([EXAMPLES["adversarial"][0]], "compiled_together"),
    ],
)
def test_compiled_too(remedies, execution):
    of = trial(*remedies, model=MLP(hidden=(6,)) if len(remedies) > 1 else Dropping())
    assert same_up_to_rounding(run(of, None), run(of, 2, execution))


def test_the_gradient_is_the_mean_over_all_examples():
    torch.manual_seed(0)
    module = nn.Linear(3, 2).double()
    params = {name: value.detach() for name, value in module.named_parameters()}
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 0, 0, 1, 1])
    seen = []

    def counted(outputs, targets):
        seen.append(len(outputs))
        return cross_entropy(outputs, targets)

    gradient = mean_gradient(module, on_targets(counted), by_autograd)
    loss, found, _ = over_microbatches(gradient, 2)(params, {}, Batch(x, y, torch.tensor(0), {}, {}))
    probabilities = (x @ params["weight"].T + params["bias"]).softmax(1)
    error = (probabilities - nn.functional.one_hot(y, 2)) / 6
    assert seen == [2, 2, 2]
    assert torch.allclose(found["weight"], error.T @ x)
    assert torch.allclose(found["bias"], error.sum(0))
    assert torch.allclose(loss, -probabilities[range(6), y].log().mean())


def test_what_does_not_divide_or_updates_group_by_group_is_refused():
    plain = trial(model=Dropping())
    assert reasons(plain, 3) == ["microbatch = 3 does not divide batch_size = 8; its divisors: 1, 2, 4, 8"]
    noisy = trial(InitialVarianceNoise(factor=0.1, piece_size=4), model=Dropping())
    assert "initial_variance_noise.piece_size = 4" in reasons(noisy, 3)[1]
    assert any("batch_size = 4" in reason for reason in reasons(trial(BatchGrowth(initial=4), model=Dropping()), 3))
    in_order = trial(GhostBatchNorm(ghost_batch_size=2, statistics="sequential"))
    assert "take 'average'" in " ".join(reasons(in_order, 4))
    batch = Batch(torch.zeros(8, 5), torch.zeros(8), torch.tensor(0), {}, {})
    with pytest.raises(ValueError, match="microbatch = 3 does not divide the 8 examples"):
        over_microbatches(lambda *given: given, 3)({}, {}, batch)


@pytest.mark.parametrize("layer", [Centred(), nn.Dropout(0.5), nn.BatchNorm1d(5, track_running_stats=False)])
def test_layers_through_which_examples_see_one_another_are_found(layer):
    ordinary = nn.Sequential(nn.Linear(5, 5), nn.LayerNorm(5), nn.BatchNorm1d(5))
    dropping = Dropping()((5,), 3)
    before = torch.get_rng_state()
    # batch norms have a rule of their own
    assert mixes_examples(nn.Sequential(ordinary, layer), (5,)) == (not isinstance(layer, nn.BatchNorm1d))
    assert not mixes_examples(ordinary, (5,))
    assert not mixes_examples(dropping, (5,))
    assert torch.equal(before, torch.get_rng_state())


def test_on_a_cpu_batches_are_whole_unless_asked():
    assert begun(trial(model=Dropping()), SEEDS, parts_of(trial())).microbatch is None
    assert begun(trial(model=Dropping()), SEEDS, parts_of(trial()), microbatch=2).microbatch == 2


@pytest.fixture
def small_device(monkeypatch):
    """Make running out of memory an error that counts, as it is on a GPU."""
    monkeypatch.setattr(microbatches, "is_limited", lambda device: True)
    monkeypatch.setattr(microbatches, "_found", {})


def test_the_largest_part_that_fits_is_found_by_itself(small_device):
    # Greedy holds five of eight examples: four is the largest half of a half of them
    of = trial(model=Greedy, optimizer=Adam())
    running = begun(of, SEEDS, parts_of(of), dtype=torch.float64)
    assert running.microbatch == 4
    assert running.step == 0
    assert same_up_to_rounding(run(of, "auto"), run(of, 4))
    assert begun(trial(model=Greedy, batch_size=4), SEEDS, parts_of(of)).microbatch is None
    grown = trial(BatchGrowth(initial=2, factor=2.0, every=0.5), model=Greedy)
    assert begun(grown, SEEDS, parts_of(of)).microbatch == 4
    assert begun(trial(SAM(rho=0.1, m=4), model=Greedy), SEEDS, parts_of(of)).microbatch is None


def test_it_is_looked_for_once_for_all_values_of_a_remedy(small_device):
    for smoothing in (0.1, 0.2):
        of = trial(LabelSmoothing(smoothing=smoothing), model=Greedy)
        assert begun(of, SEEDS, parts_of(of)).microbatch == 4
    assert list(microbatches._found.values()) == [4]


def test_batch_norm_that_does_not_fit_is_out_of_memory_with_the_reason(small_device):
    of = trial(model=NormalizedGreedy)
    with pytest.raises(torch.OutOfMemoryError, match=r"a batch of 8 examples does not fit.*add ghost_batch_norm"):
        begun(of, SEEDS, parts_of(of))
    ghost = trial(GhostBatchNorm(ghost_batch_size=2), model=NormalizedGreedy)
    assert begun(ghost, SEEDS, parts_of(of)).microbatch == 4


def test_sizes_are_tried_in_order_until_one_fits():
    tried = []

    def attempt(size):
        tried.append(size)
        if size is None or size > 3:
            raise torch.OutOfMemoryError

    assert largest_that_fits([None, 6, 3, 1], attempt, "a batch") == 3
    assert tried == [None, 6, 3]
    with pytest.raises(torch.OutOfMemoryError, match=r"a batch does not fit.*nor do microbatches of 4"):
        largest_that_fits([None, 8, 4], attempt, "a batch")
    with pytest.raises(ZeroDivisionError):
        largest_that_fits([None], lambda size: 1 / 0, "a batch")


def test_a_space_refuses_what_would_not_be_the_same_before_anything_starts():
    space = quickstart().overridden([("microbatch", "large")])
    assert "space.microbatch = 'large': must be 'auto', None or a whole number of examples" in space_problems(space)
    assert any("microbatch = 0" in problem for problem in space_problems(quickstart().overridden([("microbatch", 0)])))
    of, data = trial(), trial().data.load(0)
    assert asked_problems(of, data, "auto", "arm") == asked_problems(of, data, None, "arm") == []
    assert asked_problems(of, data, 8, "arm") == []
    assert "statistics of the whole batch" in asked_problems(of, data, 4, "arm 'a'")[0]
    # one that a phase alone would need is refused too
    phased = trial(model=Dropping(), phases=(Phase(epochs=1.0, batch_size=6),))
    assert asked_problems(phased, data, 4, "arm") == [
        "arm: microbatch = 4 does not divide batch_size = 6; its divisors: 1, 2, 3, 6"
    ]


def test_it_is_no_part_of_a_trial_but_of_the_space_where_asked_and_of_the_row():
    space = quickstart()
    assert "microbatch" not in description(space)
    assert description(space.overridden([("microbatch", 64)]))["microbatch"] == "64"
    assert space_hash(space) != space_hash(space.overridden([("microbatch", 64)]))
    of = trial(model=Dropping(), phases=(Phase(epochs=1.0),))
    running = begun(of, [0], parts_of(of), microbatch=2)
    while not running.done:
        running.advance()
    rows = [outcome.row for outcome in outcomes(running, metrics=(), wall_s=0.0)]
    assert [row["microbatch"] for row in rows] == [2]
