"""Fovea: exact, fast and differentiable attention on the CPU.

    import fovea
    y = fovea.scaled_dot_product_attention(q, k, v, causal=True)

q, k and v are NumPy arrays, or CPU arrays of PyTorch, JAX and others; the result is of the same kind.

    scaled_dot_product_attention         softmax(q kᵀ / √d) v: masks, bias, lengths, windows, grouped heads
    scaled_dot_product_attention_grad    its gradients
    Model                                a model file in JSON: run, grad, gradcheck
    gradcheck, ops                       gradients against numeric ones; every op that models may use
    set_num_threads, num_threads         threads of a call; FOVEA_THREADS sets them as well
    Error, DTypeError                    ValueErrors that say what was given, and what is required
    fovea.torch                          PyTorch's scaled_dot_product_attention on these kernels
    python -m fovea.bench                measures this machine
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
