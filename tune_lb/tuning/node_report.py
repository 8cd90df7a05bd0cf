"""What a node has: its own versions and code, looked up there.

This module is sent to nodes as it is, for they may have another tune_lb, or none: it imports nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys

PACKAGES = ("torch", "ray", "numpy", "pyarrow")
"""What must be there in the same version: results depend on it, or what is sent could not be read."""

CODE = "tune_lb"

COUNT_GPUS = "import torch; print(torch.cuda.device_count())"


def node_report(count_gpus: bool) -> dict[str, str]:
    """Return what this process's machine has, by name: Python, packages ("" where one is lacking), a hash of the code of tune_lb.

    count_gpus: also how many GPUs torch can use, in a process of its own, since Ray hides them from this one; takes seconds.
    """
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for name in PACKAGES:
        try:
            # +cu128 and +cpu are one version: a head node needs no GPU
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    spec = importlib.util.find_spec(CODE)
    folder = next(iter((spec.submodule_search_locations or ()) if spec is not None else ()), "")
    found |= {CODE: code_hash(folder) if folder else "", "folder": folder}
    if count_gpus:
        environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
        done = subprocess.run(
            [sys.executable, "-c", COUNT_GPUS],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        found["GPUs"] = done.stdout.strip() or "0"
    return found


def code_hash(folder: str) -> str:
    """Return a hash of the names and texts of all Python files in a folder and below."""
    digest = hashlib.sha256()
    for place, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(file for file in files if file.endswith(".py")):
            path = os.path.join(place, file)
            with open(path, "rb") as opened:
                # a checkout on another system may end lines otherwise
                text = opened.read().replace(b"\r\n", b"\n")
            digest.update(f"{os.path.relpath(path, folder)}\0{len(text)}\0".encode() + text)
    return digest.hexdigest()[:12]
