"""The README's examples of a space and of a new remedy are run as they stand there."""

import re
from pathlib import Path

import numpy as np

from tests.trainings import training, trial
from tune_lb.data.device import on_device
from tune_lb.space.checks import checked_designs
from tune_lb.space.loading import load_space
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.training import Training

README = (Path(__file__).parents[1] / "README.md").read_text()

SPACE = """
from smoothing import Smoothing

from tune_lb.data.digits import Digits
from tune_lb.models.mlp import MLP
from tune_lb import Arm, Space, over

SPACE = Space(
    question="Does label smoothing help?",
    data=Digits(num_train=200, num_validation=200),
    model=MLP(hidden=(16,)),
    eta_over_b=1e-3,
    batch_size=100,
    arms=(Arm("plain"), ARM),
    reference="plain",
)
"""


def test_the_remedy_in_the_readme_is_one_file_and_one_entry(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    (tmp_path / "smoothing.py").write_text(next(block for block in blocks if "class Smoothing" in block))
    arm = re.search(r"`(Arm\(\"smoothing\".*?)`", README)
    (tmp_path / "does_it_help.py").write_text(SPACE.replace("ARM", arm.group(1)))
    space = load_space(str(tmp_path / "does_it_help.py")).space
    design = next(design for design in checked_designs(space) if design.name == "smoothing")
    assert design.dimensions.keys() == {"smoothing.epsilon"}

    off, on = (design.template.resolved({"smoothing.epsilon": epsilon}).remedies for epsilon in (0.0, 0.2))
    losses = [running_loss(*remedies) for remedies in ((), off, on)]
    assert losses[0] == losses[1] != losses[2]
    assert trial(*on).columns()["smoothing.epsilon"] == 0.2


def test_the_space_in_the_readme_loads_and_its_network_trains(tmp_path, monkeypatch):
    block = next(block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "def network(" in block)
    (tmp_path / "does_sam_help.py").write_text(block)
    monkeypatch.setenv("TUNE_LB_DATA", str(tmp_path))
    labels = np.arange(900) % 3
    np.savez(
        tmp_path / "photos.npz",
        images=np.random.default_rng(0).random((900, 4, 5)) + labels[:, None, None],
        labels=labels,
    )
    space = load_space(str(tmp_path / "does_sam_help.py")).space
    data = space.data.load(0)
    of = next(design for design in checked_designs(space) if design.name == "small_batch").template.resolved(
        {"eta_over_b": 1e-3}
    )
    assert check_against_data(of, data) == []
    running = Training(of, [0], on_device(data, "cpu"))
    running.advance()
    assert {row.name: row.value for row in running.evaluate()}["train_error"] < 0.05


def running_loss(*remedies):
    running = training(trial(*remedies), (0,))
    return [row.value for row in running.advance(1.0) if row.name == "running_train_loss"]
