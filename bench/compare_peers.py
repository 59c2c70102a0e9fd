"""Whom bench/compare.py compares: each peer makes a function of a case, in its own words and its own layout.

`prepare(case, threads)` returns (call, read): `call()` computes and returns results as the library gives them, `read(results)`
makes NumPy arrays (batch, heads, length, dim) of them: y, and with backward dq, dk and dv. It raises NotImplementedError, with
the reason, for what the library does not do. Each has as many threads as it is told, and waits for work as it does by default.
"""
import numpy as np


def _swap(x):
    return np.ascontiguousarray(np.swapaxes(x, 1, 2))


def _mask_of(case):
    """The mask, causal and window too, for who has no words for these."""
    mask, seen = case.arrays[4], case.visible()
    if mask is None or seen is None:
        return mask if seen is None else seen[None, None]
    return mask & seen


class Fovea:
    name = library = "Fovea"

    def __init__(self):
        import fovea
        self.fovea, self.version = fovea, fovea.__version__

    def prepare(self, case, threads):
        q, k, v, dy, mask, bias = case.arrays
        options = {"mask": mask, "bias": bias, "causal": case.causal or None, "window": (case.window, None) if case.window else None}
        options = {name: value for name, value in options.items() if value is not None}
        attend, gradients = self.fovea.scaled_dot_product_attention, self.fovea.scaled_dot_product_attention_grad
        if not case.backward:
            return (lambda: attend(q, k, v, **options)), (lambda y: [y])

        def call():
            y, lse = attend(q, k, v, return_lse=True, **options)
            return (y, *gradients(dy, q, k, v, y=y, lse=lse, **options)[:3])
        return call, list


class NumPy:
    name = library = "NumPy"

    def __init__(self):
        self.version = np.__version__

    def prepare(self, case, threads):
        from fovea.bench import composed
        if case.backward:
            raise NotImplementedError("no gradients")
        q, k, v, _, _, bias = case.arrays
        mask = _mask_of(case)
        return (lambda: composed(q, k, v, mask=mask, bias=bias)), (lambda y: [y])


class PyTorch:
    name = library = "PyTorch"

    def __init__(self):
        import torch
        self.torch, self.version = torch, torch.__version__

    def prepare(self, case, threads):
        torch = self.torch
        torch.set_num_threads(threads)
        q, k, v, dy = (torch.from_numpy(x) for x in case.arrays[:4])
        bias = case.arrays[5]
        mask = bias if bias is not None else _mask_of(case) if case.mask or case.window else None
        options = {"attn_mask": None if mask is None else torch.from_numpy(mask), "enable_gqa": bool(case.kv_heads),
                   "is_causal": case.causal and mask is None}
        attend = torch.nn.functional.scaled_dot_product_attention
        if not case.backward:
            return (lambda: attend(q, k, v, **options)), (lambda y: [y.numpy()])    # nothing here requires a gradient
        inputs = [x.requires_grad_() for x in (q, k, v)]

        def train():
            y = attend(*inputs, **options)
            return (y, *torch.autograd.grad(y, inputs, dy))
        return train, (lambda results: [x.detach().numpy() for x in results])


class _OnnxRuntime:
    library = "ONNX Runtime"

    def __init__(self):
        import onnx
        import onnxruntime
        self.onnx, self.runtime, self.version = onnx, onnxruntime, onnxruntime.__version__

    def session(self, threads, node, inputs, opset):
        helper = self.onnx.helper
        floats = self.onnx.TensorProto.FLOAT
        types = {np.dtype(np.float32): floats, np.dtype(bool): self.onnx.TensorProto.BOOL}
        graph = helper.make_graph(
            [node], "attention", [helper.make_tensor_value_info(n, types[x.dtype], x.shape) for n, x in inputs.items()],
            [helper.make_tensor_value_info("y", floats, None)])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)])
        model.ir_version = 10
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        return self.runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def check(self, case):
        if case.backward:
            raise NotImplementedError("no gradients")
        if case.dtype != "f32":
            raise NotImplementedError("f32 only")


class OnnxMultiHead(_OnnxRuntime):
    name = "ORT MHA"

    def prepare(self, case, threads):
        self.check(case)
        if case.kv_heads:
            raise NotImplementedError("no grouped heads")
        flat = [_swap(x).reshape(x.shape[0], x.shape[2], -1) for x in case.arrays[:3]]
        inputs = dict(zip(("q", "k", "v"), flat))
        mask, bias = (_mask_of(case) if case.mask or case.window else None), case.arrays[5]
        if mask is not None:                                # its masks are numbers
            bias = np.where(mask, np.float32(0), np.float32(-np.inf))
        if bias is not None:
            inputs["bias"] = bias
        node = self.onnx.helper.make_node(
            "MultiHeadAttention", ["q", "k", "v", *(["", "", "bias"] if bias is not None else [])], ["y"],
            domain="com.microsoft", num_heads=case.heads, unidirectional=int(case.causal and mask is None))
        session = self.session(threads, node, inputs, 17)

        def read(results):
            y = results[0]
            return [np.swapaxes(y.reshape(*y.shape[:2], case.heads, -1), 1, 2)]
        return (lambda: session.run(None, inputs)), read


class OnnxAttention(_OnnxRuntime):
    name = "ORT Attention"

    def prepare(self, case, threads):
        self.check(case)
        inputs = dict(zip(("q", "k", "v"), case.arrays[:3]))
        mask = case.arrays[5] if case.bias else _mask_of(case) if case.mask or case.window else None
        if mask is not None:
            inputs["mask"] = mask
        node = self.onnx.helper.make_node("Attention", list(inputs), ["y"], is_causal=int(case.causal and mask is None))
        session = self.session(threads, node, inputs, 23)
        return (lambda: session.run(None, inputs)), list


class Jax:
    name = library = "JAX"
    remarks = {"f64": "its softmax is in f32 whatever the dtype"}

    def __init__(self):
        import jax
        self.jax, self.version = jax, jax.__version__

    def prepare(self, case, threads):
        jax = self.jax
        jax.config.update("jax_enable_x64", case.dtype == "f64")
        q, k, v, dy = (jax.device_put(_swap(x)) for x in case.arrays[:4])
        mask, bias = (None if x is None else jax.device_put(x) for x in case.arrays[4:])
        window = (case.window, 0) if case.window else None

        def attend(q, k, v):
            return jax.nn.dot_product_attention(q, k, v, bias=bias, mask=mask, is_causal=case.causal, local_window_size=window)

        def train(q, k, v):
            y, back = jax.vjp(attend, q, k, v)
            return (y, *back(dy))
        function = jax.jit(train if case.backward else lambda *x: (attend(*x),))
        return (lambda: jax.block_until_ready(function(q, k, v))), (lambda xs: [np.swapaxes(np.asarray(x), 1, 2) for x in xs])


PEERS = [Fovea, PyTorch, OnnxMultiHead, OnnxAttention, Jax, NumPy]
