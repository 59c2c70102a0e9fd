"""Fovea: exact, fast and differentiable attention on the CPU.

    import fovea
    y = fovea.scaled_dot_product_attention(q, k, v, causal=True)

q, k and v are NumPy arrays, or CPU arrays of PyTorch, JAX and others; the result is of the same kind.
"""
from fovea._core import (
    AttentionGradient,
    AttentionLse,
    AttentionLseProbs,
    AttentionProbs,
    DTypeError,
    Error,
    __version__,
    num_threads,
    scaled_dot_product_attention,
    scaled_dot_product_attention_grad,
    set_num_threads,
)
from fovea.model import Model, gradcheck, ops

__all__ = [
    "AttentionGradient",
    "AttentionLse",
    "AttentionLseProbs",
    "AttentionProbs",
    "DTypeError",
    "Error",
    "Model",
    "__version__",
    "gradcheck",
    "num_threads",
    "ops",
    "scaled_dot_product_attention",
    "scaled_dot_product_attention_grad",
    "set_num_threads",
]
