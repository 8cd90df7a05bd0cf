"""The share of a GPU for each worker, and what happens where it is too small: on a CPU, with a stand-in for its allocator."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.fake_memory import FakeMemory
from tests.jobs import finished, job_of
from tests.search.test_planner import FACTS, compared
from tests.trainings import parts_of, trial
from tests.tuning.test_running_job import context_of, rows_of
from tune_lb.errors import RequestError
from tune_lb.results.ledger import Ledger
from tune_lb.results.storage import Store
from tune_lb.search.planner import Search
from tune_lb.training import microbatch_size
from tune_lb.training.device_memory import CONTEXT_BYTES, DeviceMemory
from tune_lb.tuning.execution_choice import Execution
from tune_lb.tuning.gpu_share import MARGIN, MOST_WORKERS, gpu_share, larger_share, share_for
from tune_lb.tuning.placement import worker_bundle
from tune_lb.tuning.planned_searcher import PlannedSearcher
from tune_lb.tuning.resources import Resources
from tune_lb.tuning.running_job import RunningJob

GB = 1e9


@pytest.mark.parametrize(
    ("need", "total", "expected"),
    [
        (1.0, 80.0, 1 / 16),  # sixteen at most, though 42 would fit
        (10.0, 80.0, 1 / 6),  # six of 12.7 GB
        (20.0, 80.0, 1 / 3),
        (30.0, 80.0, 1 / 2),
        (35.0, 80.0, 1.0),
        (500.0, 80.0, 1.0),
    ],
)
def test_as_many_workers_share_a_gpu_as_have_room(need: float, total: float, expected: float) -> None:
    share = share_for(need * GB, total * GB)
    assert expected - 1e-4 <= share <= expected
    assert (share * 1e4) % 1 == pytest.approx(0, abs=1e-6), "Ray counts in ten-thousandths"
    if share < 1:
        assert share * total * GB >= need * GB * MARGIN + CONTEXT_BYTES - 1e-4 * total * GB
        assert round(1 / share) <= MOST_WORKERS


def test_a_larger_share_is_that_of_half_as_many_workers() -> None:
    assert [larger_share(share) for share in (0.0625, 0.1666, 0.3333, 0.25, 0.5)] == [0.125, 0.3333, 1.0, 0.5, 1.0]


class Wide(nn.Module):
    """A linear network that makes nine thousand values of each output on the way, which its gradient needs all at once."""

    def __init__(self, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(shape[0], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        many = self.linear(x)[:, :, None].expand(-1, -1, 1000)
        for _ in range(9):
            many = many.sin()
        return many.mean(2)


def test_the_largest_arm_decides() -> None:
    trials = {"small": trial(model=Wide, batch_size=2), "large": trial(model=Wide, batch_size=8)}
    parts = {arm: parts_of(own) for arm, own in trials.items()}
    execution = Execution(ways=dict.fromkeys(trials, "alone"))
    asked = {"members": 1, "microbatch": "auto"}
    alone = {}
    for arm in trials:
        memory = FakeMemory(10**15)
        gpu_share({arm: trials[arm]}, parts, execution, memory=memory, **asked)  # type: ignore[arg-type]
        alone[arm] = memory.peak
    classes = parts["large"].num_classes
    assert alone["large"] >= 8 * classes * 8 * 1000 * 4, "the values that it makes on the way"
    assert alone["large"] > alone["small"]
    total = int(3.5 * (MARGIN * alone["large"] + CONTEXT_BYTES))
    share, note = gpu_share(trials, parts, execution, memory=FakeMemory(total), **asked)  # type: ignore[arg-type]
    assert share == 0.3333
    assert note.startswith("3 workers on each GPU (--gpus-per-trial auto: 0.3333): arm 'large' takes ")
    with pytest.raises(RequestError, match="arm 'small': CUDA out of memory"):
        gpu_share(trials, parts, execution, memory=FakeMemory(alone["small"] // 2), **asked)  # type: ignore[arg-type]


class Grows(nn.Module):
    """A network that does not fit with more than four examples, after it did a few times."""

    passes = 0

    def __init__(self, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(shape[0], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and x.shape[0] > 4:
            Grows.passes += 1
            if Grows.passes > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return self.linear(x)


class NormalizedGrows(Grows):
    """The same with batch norm: its microbatches have other gradients."""

    def __init__(self, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(shape, num_classes)
        self.linear = nn.Sequential(self.linear, nn.BatchNorm1d(num_classes))  # type: ignore[assignment]


@pytest.fixture
def small_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make running out of memory an error that counts, as it is on a GPU."""
    monkeypatch.setattr(microbatch_size, "is_limited", lambda device: True)
    monkeypatch.setattr(microbatch_size, "_found", {})
    monkeypatch.setattr(Grows, "passes", 0)


def work(folder: Path, model: type[nn.Module], share: float) -> RunningJob:
    of = trial(model=model)
    parts = parts_of(of)
    return RunningJob(job_of(of), lambda trial: parts, context_of(folder, of), share)


def test_out_of_memory_in_the_middle_goes_on_in_smaller_microbatches(small_device: None, tmp_path: Path) -> None:
    """The whole batch of eight fitted when it was tried."""
    assert len(finished(work(tmp_path, Grows, share=0.25))) == 2
    assert Grows.passes > 3
    assert {(row["status"], row["microbatch"]) for row in rows_of(tmp_path)} == {("completed", 4)}


def test_where_no_microbatch_is_exact_a_larger_share_is_asked_for_and_with_a_whole_gpu_it_is_an_outcome(
    small_device: None, tmp_path: Path
) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        finished(work(tmp_path, NormalizedGrows, share=0.25))
    assert not list(tmp_path.rglob("*.members.parquet"))
    assert finished(work(tmp_path, NormalizedGrows, share=1.0)) == {}
    assert {row["status"] for row in rows_of(tmp_path)} == {"out_of_memory"}


def test_a_job_that_did_not_fit_goes_on_with_a_larger_share_in_a_new_worker(tmp_path: Path) -> None:
    searcher = PlannedSearcher(Search(compared(), FACTS), Ledger(Store(tmp_path)), attempt="1", share=0.25)
    resources, asked, shares = Resources(1, 0.25, 4), [], []
    error = "ray::JobTrainable.train()\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    for number in range(3):
        name = str(number)
        asked.append(searcher.suggest(name))
        searcher.all_trials.append(SimpleNamespace(trial_id=name, get_error=lambda: error))
        shares.append(worker_bundle(resources, (), asked[-1].get("share")).bundles[0]["GPU"])
        searcher.on_trial_complete(name, error=True)
    assert [own["job"] for own in asked] == [asked[0]["job"]] * 3
    assert shares == [0.25, 0.5, 1.0]
    arm = asked[0]["job"].arm
    assert searcher.notes == [
        f"arm {arm!r} does not fit into {share} of a GPU's memory: its jobs go on with {more}, in new workers"
        for share, more in (("0.25", "0.5"), ("0.5", "1"))
    ]
    assert searcher.search.failed == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_process_is_held_to_its_share() -> None:
    memory = DeviceMemory(torch.device("cuda"))
    total = memory.total_bytes()
    assert memory.peak_bytes(lambda: torch.zeros(10**8, device="cuda")) == pytest.approx(4e8, rel=0.1)
    try:
        memory.limit(0.1)
        with pytest.raises(torch.OutOfMemoryError):
            torch.zeros(int(0.11 * total) // 4, device="cuda")
    finally:
        memory.limit(2.0)
        torch.cuda.empty_cache()
