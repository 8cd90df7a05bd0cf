"""The README's example of a new remedy is run as it stands there."""

import re
from pathlib import Path

from tests.trainings import training, trial
from tune_lb.loading import load_space

README = (Path(__file__).parents[1] / "README.md").read_text()

SPACE = """
from smoothing import Smoothing

from tune_lb.data.digits import Digits
from tune_lb.models.mlp import MLP
from tune_lb.space import Arm, Space, over

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
    design = next(design for design in space.designs() if design.name == "smoothing")
    assert design.dimensions.keys() == {"smoothing.epsilon"}

    off, on = (design.template.resolved({"smoothing.epsilon": epsilon}).remedies for epsilon in (0.0, 0.2))
    losses = [running_loss(*remedies) for remedies in ((), off, on)]
    assert losses[0] == losses[1] != losses[2]
    assert trial(*on).columns()["smoothing.epsilon"] == 0.2


def running_loss(*remedies):
    running = training(trial(*remedies), (0,))
    return [row.value for row in running.advance(1.0) if row.name == "running_train_loss"]
