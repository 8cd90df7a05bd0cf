"""doctor SPACE: what was found for each arm, before anything is trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests import networks
from tests.cli.conftest import Called

SPACE = """
from zoo import Body, Counting, FromNumPy, Global, Writing
from tune_lb import Arm, Epochs, Space
from tune_lb.testing.small_training import Clusters

SPACE = Space(
    question="?", data=Clusters(), budget=Epochs(2), batch_size=8, lr=0.1, model=Body,
    arms=(Arm("small", batch_size=4), Arm("large"), Arm("counting", model=Counting), Arm("random", model=FromNumPy),
          Arm("writing", model=Writing)),
    baseline="small", reference="large", derived=False, placebo=False,
)
"""


def test_each_arm_is_told_its_way_and_why(call: Called, tmp_path: Path) -> None:
    shutil.copy(networks.__file__, "zoo.py")
    Path("mine.py").write_text(SPACE)
    code, out, _ = call("doctor", "mine.py", "--json")
    assert code == 0
    found = json.loads(out)
    arms = {row["arm"]: row for row in found["arms"]}
    assert {name: row["way"].partition(":")[0] for name, row in arms.items()} == {
        **dict.fromkeys(("small", "large", "random", "writing"), "fast"),
        "counting": "plain",
    }
    assert arms["counting"]["why"] == "Counting.calls is changed by forward, and is no buffer"
    assert "numpy.random" in arms["random"]["random"]
    assert arms["writing"]["inputs"].startswith("written into")
    assert "clusters: 24 train" in found["data"][0]
    assert found["selected by"] == "validation loss, then loss and soft error"
    assert not Path("runs").exists()


def test_networks_alike_are_said_once(call: Called, tmp_path: Path) -> None:
    shutil.copy(networks.__file__, "zoo.py")
    Path("mine.py").write_text(SPACE)
    out = call("doctor", "mine.py")[1]
    assert out.count("model") == 4
    assert "arms 'small', 'large'" in out


def test_a_network_that_no_way_is_right_for_is_an_error(call: Called, tmp_path: Path) -> None:
    shutil.copy(networks.__file__, "zoo.py")
    Path("mine.py").write_text(SPACE.replace("model=Writing", "model=Global"))
    code, _, err = call("doctor", "mine.py")
    assert code == 2
    assert err.startswith("error: arm 'writing': Global: ")
    assert "it depends on what ran before" in err
