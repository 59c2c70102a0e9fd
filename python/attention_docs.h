// Docstrings of the attention functions; the first line is what `inspect.signature` reads.
#pragma once

namespace fovea::python {

inline constexpr char kForwardDoc[] =
    R"(scaled_dot_product_attention(q, k, v, *, mask=None, bias=None, key_lengths=None, scale=None, causal=False, align=None, query_offset=None, window=None, softcap=0.0, return_lse=False, return_probs=False, out=None, threads=None)
--

y = softmax(scale · q kᵀ + bias) v over the keys that each query sees.

Shapes (rank 2 is (length, dim), rank 3 (batch, length, dim)):

    q (batch, heads, Lq, D)   k (batch, kv_heads, Lk, D)   v (batch, kv_heads, Lk, Dv)
    y (batch, heads, Lq, Dv)  lse (batch, heads, Lq)       probs (batch, heads, Lq, Lk)

`heads` is a multiple of `kv_heads`. Lengths and batches of 0 are legal. A query that sees
nothing has y = 0 and lse = -inf; what is hidden from a query, NaN too, does not reach it.

mask          bool, True = visible; broadcasts, aligned to the right, to the scores (…, Lq, Lk)
bias          numbers of q's dtype, added to the scores, -inf hides; broadcasts likewise
key_lengths   integers (batch,): item b has key_lengths[b] keys; not at rank 2
scale         factor of q kᵀ; default 1/sqrt(D)
causal        query i sees key j iff j <= i + query_offset
window        (left, right), None for no bound: i + query_offset - left <= j <= i + query_offset + right
align         "top_left" (query_offset 0) or "bottom_right" (Lk - Lq, or key_lengths[b] - Lq); needed
              for causal and window when Lq != Lk
query_offset  key position of query 0, instead of align
softcap       scores become softcap · tanh(scores / softcap); 0: they do not
return_lse    also lse, the logarithm of the sum of exponentials; f32 for halves
return_probs  also the probabilities: Lq · Lk memory
out           a NumPy array or PyTorch tensor that y is written to, and that is returned
threads       at most so many for this call; see set_num_threads

Arrays are NumPy's (any strides), or anything with __dlpack__ or the array interface, such as
PyTorch's and JAX's on the CPU: not copied, and results are of q's kind. float16 and bfloat16 are
computed in float32 and rounded at the end; integers become float64. Returns y, or a named tuple
(y, lse), (y, probs) or (y, lse, probs).

Raises fovea.Error (a ValueError) for shapes and values that do not fit, fovea.DTypeError (also a
TypeError) for element types, TypeError for other things than arrays and numbers.)";

inline constexpr char kGradientDoc[] =
    R"(scaled_dot_product_attention_grad(dy, q, k, v, *, y=None, lse=None, dlse=None, bias_gradient=True, mask=None, bias=None, key_lengths=None, scale=None, causal=False, align=None, query_offset=None, window=None, softcap=0.0, threads=None)
--

Gradients of sum(dy · y) + sum(dlse · lse) for y and lse of scaled_dot_product_attention.

dy (…, Lq, Dv) and dlse (…, Lq) are the cotangents; one of them may be None. With `y` and `lse`
as the forward call returned them nothing is computed twice; what is missing is computed here.
The other arguments are those of the forward call.

Returns a named tuple (dq, dk, dv, dbias), each of its input's shape and of q's kind and dtype;
dbias is None without a bias, and with bias_gradient=False. Memory grows with the lengths, not with
their product. Raises what scaled_dot_product_attention raises.)";

}  // namespace fovea::python
