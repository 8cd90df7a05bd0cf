"""The ways in which a step can be made, as a space names them."""

from __future__ import annotations

EXECUTIONS = ("alone", "together", "compiled_alone", "compiled_together", "plain")
"""alone: one member at a time; together: members stacked, by torch.func.vmap; each eager or through torch.compile.
plain: one member at a time, by the forward and backward pass of the network itself, for networks that are no function of their
tensors and inputs (see plain_gradient)."""


PRECISIONS = ("fp32", "bf16", "tf32")
"""fp32: all in float32, with all of its bits on a GPU too. bf16: matrix products and convolutions of training's forward pass, and
so of its backward pass, in bfloat16 (torch.autocast: 8 bits of mantissa, float32's range, no loss scaling). Parameters, gradients,
optimiser, batch-norm statistics and the loss itself stay float32, as do evaluation, metrics and every Hessian-vector product. tf32:
matrix products and convolutions of training on a GPU round what they multiply to TF32 (10 bits of mantissa, float32's range); fp32
elsewhere."""


AUTO = "auto"
