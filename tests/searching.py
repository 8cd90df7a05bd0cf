"""Real searches of a tiny space, started as a user starts them, and killed with all that they started."""

from __future__ import annotations

SPACE = """
import beside

from tune_lb.budgets import Epochs
from tune_lb.data.digits import Digits
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.space import Arm, Space, over

SPACE = Space(
    question="Does any of it help?", data=Digits(num_train=100, num_validation=100), model=beside.Network(hidden=(8,)),
    eta_over_b=over(1e-4, 1e-2, log=True), budget=Epochs(4), batch_size=100,
    arms=(Arm("small", batch_size=20), Arm("large"), Arm("noisy", GradientNoise(alpha=over(1e-6, 1e-2, log=True)))),
    baseline="small", reference="large", derived=False, placebo=False,
    num_samples=2, seeds=2, rescreen_seeds=1, confirm_seeds=2,
)
"""

BESIDE = '''
"""Lies beside the space: its network writes down every member whose training begins, and fails when it is told to."""
import os
from dataclasses import dataclass

import torch
from tune_lb.models.mlp import MLP


@dataclass(frozen=True)
class Network(MLP):
    def __call__(self, input_shape, num_classes):
        folder = os.environ["TUNE_LB_TEST_LOG"]
        if "RAY_RAYLET_PID" in os.environ:
            node = os.environ.get("RAY_NODE_ID", "")
            if not node:
                import ray
                node = ray.get_runtime_context().get_node_id()
            with open(os.path.join(folder, f"{os.getpid()}.log"), "a") as file:
                file.write(node + "\\n")
            if os.path.exists(os.path.join(folder, "fail")):
                raise RuntimeError("told to fail")
        return super().__call__(input_shape, num_classes)
'''
