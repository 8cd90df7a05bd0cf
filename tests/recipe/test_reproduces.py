"""The printed code, run as a file, gives the member's test error: for networks of one's own and for every remedy (A13, B8)."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.recipe.own_networks import LAYER_BY_LAYER, LOSSES, NETWORKS, OPTIMIZERS, body_and_head
from tests.trainings import EXAMPLES, named, parts_of, trial
from tune_lb.budgets import Epochs
from tune_lb.errors import RequestError
from tune_lb.observation.outcome import outcomes
from tune_lb.optimizers.elementwise import AdamW
from tune_lb.recipe.layers import layers_code
from tune_lb.recipe.recipe import recipe
from tune_lb.space.designs import template_of
from tune_lb.space.loading import load_space
from tune_lb.training.phase import Phase
from tune_lb.training.phased_training import begun

SEED = 2000
ROOT = Path(__file__).parents[2]


def member_error(of) -> float:
    """Return the test error of the member, in percent."""
    training = begun(of, [SEED], parts_of(of))
    while not training.done:
        training.advance()
    (outcome,) = outcomes(training, metrics=(), wall_s=0.0)
    return 100 * outcome.row["test_error"]


def code_of(of) -> str:
    return recipe(of, of.data.load(of.split_seed), ["facts"], SEED)


def printed_error(of) -> float:
    """Return what the code prints when it is run, in this process."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), torch.random.fork_rng():
        exec(compile(code_of(of), "recipe.py", "exec"), {"__name__": "__main__"})
    return error_in(out.getvalue())


def error_in(text: str) -> float:
    return float(re.findall(r"test error ([\d.]+) %", text)[-1])


def of_network(name):
    return trial(model=NETWORKS[name], lr=0.2, budget=Epochs(6.0))


OTHERS = {
    "loss_partial": trial(loss=LOSSES["partial"], budget=Epochs(4.0)),
    "loss_own": trial(loss=LOSSES["own"], budget=Epochs(4.0)),
    "numpy": trial(lr=np.float64(0.2), batch_size=np.int64(8), optimizer=AdamW(eps=np.float64(1e-6))),
    "phases": trial(phases=(Phase(epochs=1.0, batch_size=4),)),
    "bf16": trial(precision="bf16"),
    "tf32": trial(precision="tf32"),
}
OTHERS |= {
    f"optimizer_{name}": trial(model=body_and_head, optimizer=own, budget=Epochs(5.0), lr=0.1)
    for name, own in OPTIMIZERS.items()
}
REMEDIES = {f"{name}_{i}": trial(r) for name, examples in EXAMPLES.items() for i, r in enumerate(examples)}
CASES = {f"network_{name}": of_network(name) for name in NETWORKS} | OTHERS | REMEDIES


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_ones_own_is_the_one_that_was_trained(name):
    of = of_network(name)
    assert printed_error(of) == pytest.approx(member_error(of), abs=0.006)


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_written_where_they_tell_the_network(name):
    code = layers_code(lambda: NETWORKS[name]((5,), 3))
    assert (code is not None) == (name in LAYER_BY_LAYER)
    assert ("nn.Sequential" in code_of(of_network(name))) == (name in LAYER_BY_LAYER)


@pytest.mark.parametrize("name", OTHERS)
def test_losses_and_numbers_of_ones_own(name):
    assert printed_error(OTHERS[name]) == pytest.approx(member_error(OTHERS[name]), abs=0.006)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimiser_with_its_groups_trains_as_it_did(name):
    """Update by update: an error of a few examples would not tell the rates apart."""
    of = OTHERS[f"optimizer_{name}"]
    namespace = {"__name__": "recipe"}
    exec(compile(code_of(of), "recipe.py", "exec"), namespace)
    parts, training = parts_of(of), begun(of, [SEED], parts_of(of))
    torch.manual_seed(namespace["stream"]("initialization").initial_seed())
    model = namespace["build_model"]()
    namespace["train"](model, parts.train.standardized(slice(None)), parts.train.targets)
    while not training.done:
        training.advance()
    (member,) = training.trained()
    for key, value in model.named_parameters():
        torch.testing.assert_close(value.detach(), member.params[key], rtol=1e-4, atol=1e-5)
    if name == "own_groups":
        assert "OwnGroups(weight_decay=0.4).build(" in code_of(of)


def test_numpy_numbers_are_printed_as_numbers():
    assert "np." not in code_of(OTHERS["numpy"])
    assert "LEARNING_RATE = 0.2  #" in code_of(OTHERS["numpy"])


def test_what_no_module_has_by_a_name_is_refused():
    def hidden(shape, num_classes):
        return NETWORKS["own_start"](shape, num_classes)

    with pytest.raises(RequestError, match="hidden cannot be written as code: no module has it by a name"):
        code_of(trial(model=hidden))


@pytest.mark.slow
def test_run_in_a_fresh_process_it_gives_the_members_error(tmp_path):
    """All of them in one process, each as a file of its own, with nothing on the path but what the file puts there."""
    for name, of in CASES.items():
        (tmp_path / f"case_{name}.py").write_text(code_of(of))
    (tmp_path / "run_all.py").write_text(
        "import runpy, sys, torch\ntorch.set_num_threads(1)\n"
        "for name in sys.argv[1:]:\n"
        "    before = list(sys.path)\n"
        "    print(name, end=': ')\n"
        "    runpy.run_path(f'case_{name}.py', run_name='__main__')\n"
        "    sys.path[:] = before\n"
    )
    done = subprocess.run(
        [sys.executable, "run_all.py", *CASES],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = {line.partition(":")[0]: error_in(line) for line in done.stdout.splitlines()}
    expected = {name: member_error(of) for name, of in CASES.items()}
    assert found == pytest.approx(expected, abs=0.006)


def test_names_of_cases_are_told_apart():
    assert len(CASES) == len(NETWORKS) + len(OTHERS) + len(REMEDIES)
    assert named(NETWORKS["closure"]) == "build"


PROJECT = {
    "spaces/my-space.py": """
        import sys
        from pathlib import Path

        sys.path.insert(0, str(Path(__file__).parent.parent / "src"))
        from mylib.nets import build
        from beside import of_width
        from tune_lb import Arm, Epochs, Space, over
        from tune_lb.data import Digits

        def batches(shape, num_classes):
            return of_width(5)(shape, num_classes)

        SPACE = Space(
            question="?", data=Digits(num_train=100, num_validation=50), model=build, batch_size=20, lr=0.1, budget=Epochs(4),
            arms=(Arm("a"), Arm("b", model=of_width(7)), Arm("c", model=over([batches, lambda s, k: of_width(6)(s, k)]))),
        )
    """,
    "spaces/beside.py": """
        from torch import nn

        def of_width(width):
            def build(shape, num_classes):
                made = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.PReLU(init=0.7), nn.Linear(width, num_classes))
                made[1].requires_grad_(False)
                return made
            return build
    """,
    "src/mylib/__init__.py": "",
    "src/mylib/nets.py": """
        from . import parts

        def build(shape, num_classes):
            return parts.layers(num_classes)
    """,
    "src/mylib/parts.py": """
        from torch import nn
        import helping

        def layers(num_classes):
            return nn.Sequential(nn.Flatten(), helping.Doubled(), nn.Linear(64, num_classes))
    """,
    "src/helping.py": """
        from torch import nn

        class Doubled(nn.Module):
            def forward(self, x):
                return 2 * x
    """,
}


@pytest.mark.slow
def test_code_of_a_project_in_folders_finds_its_modules(tmp_path):
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    of = load_space(str(tmp_path / "spaces" / "my-space.py")).space
    a, b, c = (template_of(of, arm) for arm in of.arms)
    trials = [a, b, *(c.resolved({"model": model}) for model in c.model.values)]
    out = tmp_path / "elsewhere"
    out.mkdir()
    for i, each in enumerate(trials):
        (out / f"case_{i}.py").write_text(code_of(each))
        done = subprocess.run(
            [sys.executable, f"case_{i}.py"],
            cwd=out,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
        assert error_in(done.stdout) == pytest.approx(member_error(each), abs=0.006)
