"""PyTorch's scaled_dot_product_attention on Fovea's kernels: change one import.

    from fovea.torch import scaled_dot_product_attention

Tensors are on the CPU. Gradients, also of gradients, are Fovea's own.
"""
import torch

import fovea
from fovea import _core

__all__ = ["scaled_dot_product_attention"]


def _detached(*tensors):
    return [None if x is None else x.detach() for x in tensors]


class _Attention(torch.autograd.Function):
    """(y, lse); both may have cotangents, from which gradients of gradients come."""

    @staticmethod
    def forward(ctx, q, k, v, bias, mask, scale, causal):
        ctx.set_materialize_grads(False)
        arrays = _detached(q, k, v, bias)
        y, lse = fovea.scaled_dot_product_attention(
            *arrays[:3], bias=arrays[3], mask=mask, scale=scale, causal=causal, align="top_left", return_lse=True)
        ctx.save_for_backward(q, k, v, bias, mask, y, lse)
        ctx.options = scale, causal
        return y, lse

    @staticmethod
    def backward(ctx, dy, dlse):
        if dy is None and dlse is None:
            return (None,) * 7
        q, k, v, bias, mask, y, lse = ctx.saved_tensors
        gradients = _Gradient.apply(dy, dlse, q, k, v, bias, mask, y, lse, *ctx.options, ctx.needs_input_grad[3])
        return *gradients, None, None, None


class _Gradient(torch.autograd.Function):
    """(dq, dk, dv, dbias), where y and lse count as inputs of their own."""

    @staticmethod
    def forward(ctx, dy, dlse, q, k, v, bias, mask, y, lse, scale, causal, bias_gradient):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(dy, dlse, q, k, v, bias, mask, y, lse)
        ctx.options = scale, causal
        dy, dlse, q, k, v, bias, y, lse = _detached(dy, dlse, q, k, v, bias, y, lse)
        return tuple(fovea.scaled_dot_product_attention_grad(
            dy, q, k, v, y=y, lse=lse, dlse=dlse, bias=bias, mask=mask, scale=scale, causal=causal, align="top_left",
            bias_gradient=bias_gradient))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *cotangents):
        scale, causal = ctx.options
        d_dy, d_dlse, d_q, d_k, d_v, d_bias, d_y, d_lse = _core.attention_second_order(
            *_detached(*ctx.saved_tensors, *cotangents), scale=scale, causal=causal)
        return d_dy, d_dlse, d_q, d_k, d_v, d_bias, None, d_y, d_lse, None, None, None


def _aligned(query, key, value, enable_gqa):
    """The three with equal leading axes (heads apart, with enable_gqa), as PyTorch broadcasts them."""
    kept = 3 if enable_gqa else 2                                       # axes that are not broadcast
    lead = torch.broadcast_shapes(*(x.shape[:-kept] for x in (query, key, value)))
    return [x if x.shape[:-kept] == lead else x.expand(*lead, *x.shape[-kept:]) for x in (query, key, value)]


def _flat(x, rank):
    """At most (batch, heads, length, dim): axes before the heads are one."""
    return x.reshape(-1, *x.shape[-3:]) if rank > 4 else x


def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
                                 enable_gqa=False):
    """torch.nn.functional.scaled_dot_product_attention on Fovea's kernels.

    query (…, heads, Lq, E), key (…, heads, Lk, E), value (…, heads, Lk, Ev) of one floating dtype, on the CPU; leading axes
    broadcast. attn_mask broadcasts to (…, heads, Lq, Lk): bool, True = takes part, or numbers that are added and have a
    gradient. is_causal aligns to the top left, and excludes attn_mask. With enable_gqa key and value may have fewer heads.
    A query whose mask hides everything gives 0. Differentiable twice. Dropout raises NotImplementedError.
    """
    if dropout_p:
        raise NotImplementedError(f"scaled_dot_product_attention: dropout_p is {dropout_p}; Fovea has no dropout, 0.0 is required")
    if attn_mask is not None and is_causal:
        raise RuntimeError("scaled_dot_product_attention: both attn_mask and is_causal; one of them at most")
    rank = max(query.dim(), key.dim(), value.dim())
    query, key, value = _aligned(query, key, value, enable_gqa)
    lead = query.shape[:-2]
    mask = bias = None
    if attn_mask is not None:
        if rank > 4:
            attn_mask = attn_mask.expand(*lead, *attn_mask.shape[-2:])
            attn_mask = _flat(attn_mask, rank)
        mask, bias = (attn_mask, None) if attn_mask.dtype == torch.bool else (None, attn_mask.to(query.dtype))
    query, key, value = (_flat(x, rank) for x in (query, key, value))
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (query, key, value, bias)):
        y, _ = _Attention.apply(query, key, value, bias, mask, scale, is_causal)
    else:
        arrays = _detached(query, key, value, bias)
        y = fovea.scaled_dot_product_attention(
            *arrays[:3], bias=arrays[3], mask=mask, scale=scale, causal=is_causal, align="top_left")
    return y.reshape(*lead, *y.shape[-2:]) if rank > 4 else y
