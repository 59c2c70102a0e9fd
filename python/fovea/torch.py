"""PyTorch's scaled_dot_product_attention on Fovea's kernels: change one import.

    from fovea.torch import scaled_dot_product_attention

Tensors are on the CPU. Gradients, also of gradients, are Fovea's own.
"""
import torch
from torch.autograd.forward_ad import unpack_dual

import fovea
from fovea import _core

__all__ = ["scaled_dot_product_attention"]

_WHERE = "scaled_dot_product_attention"


# Whether torch.func is at work. Where PyTorch does not say so (it has no public word for it), the way that always works is taken.
_are_transforms_active = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)


class _Function(torch.autograd.Function):
    """What both directions refuse."""

    @staticmethod
    def jvp(ctx, *tangents):
        raise NotImplementedError(f"{_WHERE}: forward-mode derivatives; Fovea gives PyTorch reverse mode, torch.autograd.grad or .backward()")

    @staticmethod
    def vmap(info, in_dims, *operands):
        raise NotImplementedError(f"{_WHERE}: under vmap; leading axes in place of it are required, they broadcast")


class _Attention(_Function):
    """(y, lse); both may have cotangents, from which gradients of gradients come."""

    @staticmethod
    def forward(q, k, v, bias, mask, scale, causal):
        return tuple(fovea.scaled_dot_product_attention(
            q, k, v, bias=bias, mask=mask, scale=scale, causal=causal, align="top_left", return_lse=True))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:5], *output)
        ctx.options = inputs[5:]

    @staticmethod
    def backward(ctx, dy, dlse):
        if dy is None and dlse is None:
            return (None,) * 7
        gradient = _Gradient.apply if torch.is_grad_enabled() else _Gradient.forward
        return *gradient(dy, dlse, *ctx.saved_tensors, *ctx.options, ctx.needs_input_grad[3]), None, None, None


class _FastAttention(_Attention):
    """The same without setup_context, which only transforms need: PyTorch binds the arguments of functions that have it to the
    signature of forward at each call, and that takes longer than small attention."""

    setup_context = staticmethod(torch.autograd.Function.setup_context)

    @staticmethod
    def forward(ctx, *inputs):
        output = _Attention.forward(*inputs)
        _Attention.setup_context(ctx, inputs, output)
        return output


class _Gradient(_Function):
    """(dq, dk, dv, dbias), where y and lse count as inputs of their own."""

    @staticmethod
    def forward(dy, dlse, q, k, v, bias, mask, y, lse, scale, causal, bias_gradient):
        return tuple(fovea.scaled_dot_product_attention_grad(
            dy, q, k, v, y=y, lse=lse, dlse=dlse, bias=bias, mask=mask, scale=scale, causal=causal, align="top_left",
            bias_gradient=bias_gradient))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:9])
        ctx.options = inputs[9:11]

    @staticmethod
    def backward(ctx, *cotangents):
        d_dy, d_dlse, d_q, d_k, d_v, d_bias, d_y, d_lse = _SecondOrder.apply(*ctx.options, *ctx.saved_tensors, *cotangents)
        return d_dy, d_dlse, d_q, d_k, d_v, d_bias, None, d_y, d_lse, None, None, None


class _SecondOrder(_Function):
    """The gradients of _Gradient's inputs but the mask."""

    @staticmethod
    def forward(scale, causal, *tensors):
        return _core.attention_second_order(*tensors, scale=scale, causal=causal)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *cotangents):
        raise NotImplementedError(f"{_WHERE}: derivatives of the third order; Fovea has those of the first and the second")


def _cast_by_autocast(*tensors):
    """What autocast does to the arguments of PyTorch's function: float32 and halves become its dtype."""
    dtype = torch.get_autocast_dtype("cpu")
    return [x.to(dtype) if x is not None and x.is_floating_point() and x.dtype != torch.float64 else x for x in tensors]


def _aligned(query, key, value, enable_gqa):
    """The three with equal leading axes (heads apart, with enable_gqa), as PyTorch broadcasts them."""
    if enable_gqa and min(query.dim(), key.dim(), value.dim()) < 3:
        raise RuntimeError(f"{_WHERE}: enable_gqa with ranks {query.dim()}, {key.dim()} and {value.dim()}; (…, heads, length, E) is required")
    if enable_gqa and 0 != key.size(-3) != value.size(-3) != 0:         # PyTorch repeats each on its own
        key, value = (x.repeat_interleave(query.size(-3) // x.size(-3), -3) for x in (key, value))
    if query.numel() == key.numel() == 0 and query.size(-1) == key.size(-1) == 0:       # all scores are 0
        query, key = (torch.nn.functional.pad(x, (0, 1)) for x in (query, key))
    kept = 3 if enable_gqa else 2                                       # axes that are not broadcast
    leads = [x.shape[:-kept] for x in (query, key, value)]
    if leads[0] == leads[1] == leads[2]:
        return query, key, value
    lead = torch.broadcast_shapes(*leads)
    return [x if x.shape[:-kept] == lead else x.expand(*lead, *x.shape[-kept:]) for x in (query, key, value)]


def _mask_and_bias(attn_mask, query):
    """attn_mask as Fovea names it; axes before the heads are one."""
    if not isinstance(attn_mask, torch.Tensor):
        raise TypeError(f"{_WHERE}: attn_mask is {type(attn_mask).__name__}; a torch.Tensor is required")
    if attn_mask.dtype not in (torch.bool, torch.float32, query.dtype):
        raise RuntimeError(f"{_WHERE}: attn_mask is {attn_mask.dtype}; torch.bool, torch.float32 or query's {query.dtype} is required")
    if query.dim() > 4:
        attn_mask = attn_mask[(None,) * (query.dim() - attn_mask.dim())]
        attn_mask = attn_mask.expand(*query.shape[:-3], *attn_mask.shape[-3:]).flatten(0, -4)
    return (attn_mask, None) if attn_mask.dtype == torch.bool else (None, attn_mask.to(query.dtype))


def _is_recorded(query, key, value, bias):
    """Whether there is a gradient to be prepared, or a forward-mode one to be refused."""
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad or bias is not None and bias.requires_grad):
        return True
    return any(unpack_dual(x).tangent is not None for x in (query, key, value, bias) if x is not None)


def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
                                 enable_gqa=False):
    """torch.nn.functional.scaled_dot_product_attention on Fovea's kernels.

    query (…, heads, Lq, E), key (…, heads, Lk, E), value (…, heads, Lk, Ev) of one floating dtype, on the CPU; leading axes
    broadcast. attn_mask broadcasts to (…, heads, Lq, Lk): bool, True = takes part, or numbers that are added and have a
    gradient. is_causal aligns to the top left, and excludes attn_mask. With enable_gqa key and value may have fewer heads.
    A query whose mask hides everything gives 0. Differentiable twice. Autocast counts. Dropout, forward-mode derivatives and
    vmap raise NotImplementedError; torch.compile runs it as it is, between two graphs.
    """
    for name, x in (("query", query), ("key", key), ("value", value)):
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{_WHERE}: {name} is {type(x).__name__}; a torch.Tensor is required")
    if dropout_p:
        raise NotImplementedError(f"{_WHERE}: dropout_p is {dropout_p}; Fovea has no dropout, 0.0 is required")
    if attn_mask is not None and is_causal:
        raise RuntimeError(f"{_WHERE}: both attn_mask and is_causal; one of them at most")
    if torch.jit.is_tracing():
        raise NotImplementedError(f"{_WHERE}: under torch.jit.trace, which does not see what happens here")
    if torch.is_autocast_enabled("cpu"):
        query, key, value, attn_mask = _cast_by_autocast(query, key, value, attn_mask)
    query, key, value = _aligned(query, key, value, enable_gqa)
    mask, bias = (None, None) if attn_mask is None else _mask_and_bias(attn_mask, query)
    rank = query.dim()
    lead = query.shape[:-2] if rank > 4 or rank == 3 and enable_gqa else None
    if lead:                                                            # axes before the heads become one
        query, key, value = (x[None].flatten(0, -4) for x in (query, key, value))
    if _are_transforms_active():
        y, _ = _Attention.apply(query, key, value, bias, mask, scale, is_causal)
    elif _is_recorded(query, key, value, bias):
        y, _ = _FastAttention.apply(query, key, value, bias, mask, scale, is_causal)
    else:
        y = fovea.scaled_dot_product_attention(
            query, key, value, bias=bias, mask=mask, scale=scale, causal=is_causal, align="top_left")
    return y.reshape(*lead, *y.shape[-2:]) if lead else y
