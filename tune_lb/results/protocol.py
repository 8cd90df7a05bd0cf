"""The names that say how a metric was measured, not what it found."""

from __future__ import annotations

from typing import Final, Literal

ColumnType = Literal["float", "int", "str", "bool", "bytes"]

PROTOCOL_FIELDS: Final[dict[str, ColumnType]] = {
    **dict.fromkeys(
        ("reason", "split", "batch_norm", "dtype", "start", "starts", "stop", "mode", "law", "method", "products"),
        "str",
    ),
    **dict.fromkeys(
        ("seed", "num_samples", "num_parameters", "num_directions", "num_batches", "batch_size", "chunk"), "int"
    ),
    **dict.fromkeys(("hvps", "max_hvps", "max_products", "evaluations", "max_evaluations", "iterations"), "int"),
    **dict.fromkeys(("max_iterations", "steps", "linf_steps", "probes", "deflated", "dimension", "p"), "int"),
    **dict.fromkeys(("groups", "small_batch"), "int"),
    **dict.fromkeys(
        ("loss", "residual", "tolerance", "relative_error", "eps", "rho", "linf_rho", "sigma", "share"), "float"
    ),
    **dict.fromkeys(("standard_error", "alignment_standard_error", "two_batches_standard_error"), "float"),
    "critical_batch_size_standard_error": "float",
    **dict.fromkeys(("converged", "adaptive"), "bool"),
}
"""Last parts of `<metric>.<field>` that say how something was measured and how well, not what; with the type of each."""
