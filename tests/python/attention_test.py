"""fovea.scaled_dot_product_attention and its gradient on NumPy arrays: values, options, results, memory."""
import ast
import ctypes
import inspect
import pathlib
import sys
import unittest

from support import fovea, np, reference, reference_gradients, tolerance

sdpa, grad = fovea.scaled_dot_product_attention, fovea.scaled_dot_product_attention_grad


def make(seed, *shapes, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


CASES = {
    "plain": ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6), {}),
    "grouped heads": ((1, 6, 9, 8), (1, 2, 9, 8), (1, 2, 9, 8), {}),
    "causal": ((2, 2, 33, 8), (2, 2, 33, 8), (2, 2, 33, 8), {"causal": True}),
    "bottom right": ((1, 2, 3, 8), (1, 2, 40, 8), (1, 2, 40, 8), {"causal": True, "align": "bottom_right"}),
    "top left": ((1, 2, 40, 8), (1, 2, 3, 8), (1, 2, 3, 8), {"causal": True, "align": "top_left"}),
    "offset": ((1, 2, 4, 8), (1, 2, 20, 8), (1, 2, 20, 8), {"causal": True, "query_offset": 11}),
    "window": ((1, 2, 50, 8), (1, 2, 50, 8), (1, 2, 50, 8), {"window": (5, 2)}),
    "one-sided window": ((1, 2, 50, 8), (1, 2, 50, 8), (1, 2, 50, 8), {"window": [None, 0]}),
    "lengths": ((3, 2, 4, 8), (3, 2, 9, 8), (3, 2, 9, 8), {"key_lengths": [0, 9, 5]}),
    "scale": ((1, 2, 4, 8), (1, 2, 9, 8), (1, 2, 9, 8), {"scale": -0.7}),
    "softcap": ((1, 2, 4, 8), (1, 2, 9, 8), (1, 2, 9, 8), {"softcap": 1.5}),
    "no keys": ((1, 2, 4, 8), (1, 2, 0, 8), (1, 2, 0, 8), {}),
    "no queries": ((1, 2, 0, 8), (1, 2, 4, 8), (1, 2, 4, 8), {}),
    "empty batch": ((0, 2, 3, 8), (0, 2, 4, 8), (0, 2, 4, 8), {}),
}


class Values(unittest.TestCase):
    def close(self, actual, expected, dtype=np.float32, factor=1):
        self.assertEqual(actual.dtype, dtype)
        self.assertEqual(actual.shape, expected.shape)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=factor * tolerance(dtype, expected))

    def test_worked_examples(self):
        y = sdpa([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], [[0.7, 0.8, 0.9], [0.2, 0.3, 0.4]], [[0.5, 0.6, 0.7], [0.1, 0.2, 0.3]])
        np.testing.assert_allclose(y, [[0.317277336, 0.417277336, 0.517277336], [0.342637138, 0.442637138, 0.542637138]], atol=5e-10)
        y = sdpa([[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]])       # integers become f64
        self.assertEqual(y.dtype, np.float64)
        np.testing.assert_allclose(y, [[10.971667928, 11.971667928], [10.999899605, 11.999899605]], atol=5e-10)

    def test_cases(self):
        for dtype in (np.float32, np.float64):
            for name, (q_shape, k_shape, v_shape, options) in CASES.items():
                with self.subTest(name, dtype=dtype):
                    q, k, v, dy = make(1, q_shape, k_shape, v_shape, (*q_shape[:3], v_shape[3]), dtype=dtype)
                    y, lse, probs = reference(q, k, v, **options)
                    result = sdpa(q, k, v, return_lse=True, return_probs=True, **options)
                    self.close(result.y, y, dtype)
                    finite = np.isfinite(lse)
                    np.testing.assert_array_equal(np.isfinite(result.lse), finite)
                    self.close(result.lse[finite], lse[finite], dtype)
                    self.close(result.probs, probs, dtype)
                    gradients = grad(dy, q, k, v, y=result.y, lse=result.lse, **options)
                    self.assertIsNone(gradients.dbias)
                    # Sums over queries and over value dims: their lengths stand in the error bound.
                    for actual, expected in zip(gradients, reference_gradients(dy, q, k, v, **options)[:3]):
                        self.close(actual, expected, dtype, factor=4 * np.sqrt(q_shape[2] + v_shape[3]))
                    again = grad(dy, q, k, v, **options)
                    for a, b in zip(gradients, again):
                        np.testing.assert_array_equal(a, b)

    def test_mask_and_bias_broadcast(self):
        q, k, v, dy = make(2, (2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4), (2, 3, 5, 4))
        rng = np.random.default_rng(3)
        for shape in ((), (6,), (5, 1), (5, 6), (3, 1, 6), (2, 1, 1, 6), (2, 3, 5, 6)):
            mask, bias = rng.random(shape) < 0.7, rng.standard_normal(shape).astype(np.float32)
            with self.subTest(shape=shape):
                mask = np.asarray(mask)
                y, _, _ = reference(q, k, v, mask=mask, bias=bias)
                self.close(sdpa(q, k, v, mask=mask, bias=bias), y)
                dbias = grad(dy, q, k, v, mask=mask, bias=bias).dbias
                full = reference_gradients(dy, q, k, v, mask=mask, bias=bias)[3]
                extra = full.ndim - len(shape)
                folded = full.sum(tuple(range(extra)))
                folded = folded.sum(tuple(a for a, n in enumerate(shape) if n == 1), keepdims=True)
                self.close(dbias, folded, factor=4 * np.sqrt(full.size))

    def test_ranks(self):
        q, k, v = make(4, (5, 4), (7, 4), (7, 3))
        y = sdpa(q, k, v)
        np.testing.assert_array_equal(sdpa(q[None], k[None], v[None])[0], y)
        np.testing.assert_array_equal(sdpa(q[None, None], k[None, None], v[None, None])[0, 0], y)

    def test_lse_has_a_gradient(self):
        q, k, v, dlse = make(5, (1, 1, 4, 3), (1, 1, 6, 3), (1, 1, 6, 3), (1, 1, 4), dtype=np.float64)
        _, _, probs = reference(q, k, v)
        scale = 1 / np.sqrt(3)
        d = grad(None, q, k, v, dlse=dlse)
        self.close(d.dq, scale * (dlse[..., None] * probs) @ k, np.float64, 10)
        self.close(d.dk, scale * np.swapaxes(dlse[..., None] * probs, -1, -2) @ q, np.float64, 10)
        np.testing.assert_array_equal(d.dv, np.zeros_like(v))

    def test_hidden_nan_does_not_reach_a_row(self):
        q, k, v = make(6, (1, 1, 4, 3), (1, 1, 4, 3), (1, 1, 4, 3))
        clean = sdpa(q, k, v, causal=True)
        k[0, 0, 3] = np.nan
        v[0, 0, 3] = np.inf
        y = sdpa(q, k, v, causal=True)
        np.testing.assert_array_equal(y[0, 0, :3], clean[0, 0, :3])
        self.assertFalse(np.isfinite(y[0, 0, 3]).any())

    def test_halves_are_widened_and_rounded(self):
        q, k, v = (x.astype(np.float16) for x in make(7, (2, 3, 5, 8), (2, 3, 6, 8), (2, 3, 6, 8)))
        wide = [x.astype(np.float32) for x in (q, k, v)]
        result, exact = sdpa(q, k, v, return_lse=True), sdpa(*wide, return_lse=True)
        self.assertEqual((result.y.dtype, result.lse.dtype), (np.float16, np.float32))
        np.testing.assert_array_equal(result.y, exact.y.astype(np.float16))
        np.testing.assert_array_equal(result.lse, exact.lse)
        dq = grad(q, q, k, v, lse=result.lse).dq
        np.testing.assert_array_equal(dq, grad(wide[0], *wide, lse=exact.lse).dq.astype(np.float16))

    def test_every_half_survives(self):
        values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
        values = values[np.isfinite(values)]
        one = np.ones((values.size, 1, 1), np.float16)
        np.testing.assert_array_equal(sdpa(one, one, values[:, None, None])[:, 0, 0], values)   # one key: y = v
        # Two equal keys: y is the mean of two values, exact in f32, which falls between two halves or on a tie.
        pairs = np.stack([values, np.roll(values, 1)], 1)[:, :, None]
        zero = np.zeros((values.size, 2, 1), np.float16)
        mean = pairs.astype(np.float32).mean(1, dtype=np.float32)
        np.testing.assert_array_equal(sdpa(one, zero, pairs)[:, 0], mean.astype(np.float16))

    def test_integers_become_f64(self):
        q = np.arange(6, dtype=np.int32).reshape(2, 3)
        y = sdpa(q, q.astype(np.uint8), q.astype(np.int64))
        self.close(y, reference(q[None, None], q[None, None], q[None, None])[0][0, 0], np.float64)


class Memory(unittest.TestCase):
    def setUp(self):
        self.q, self.k, self.v = make(8, (2, 3, 8, 4), (2, 3, 8, 4), (2, 3, 8, 4))
        self.y = sdpa(self.q, self.k, self.v)

    def test_any_strides(self):
        def spread(x):                                       # every other element of every axis
            big = np.full([2 * n for n in x.shape], np.nan, x.dtype)
            view = big[tuple(slice(None, None, 2) for _ in x.shape)]
            view[...] = x
            return view
        record = np.zeros(self.q.shape, dtype=[("pad", "i1"), ("x", "f4")])      # unaligned, odd strides
        record["x"] = self.q
        views = {
            "transposed": np.ascontiguousarray(self.q.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3),
            "spread": spread(self.q),
            "reversed": np.ascontiguousarray(self.q[::-1, ::-1, ::-1, ::-1])[::-1, ::-1, ::-1, ::-1],
            "fortran": np.asfortranarray(self.q),
            "unaligned": record["x"],
        }
        for name, q in views.items():
            with self.subTest(name):
                np.testing.assert_array_equal(q, self.q)
                np.testing.assert_array_equal(sdpa(q, self.k, self.v), self.y)
        one = np.broadcast_to(self.k[:1, :1], self.k.shape)
        np.testing.assert_array_equal(sdpa(self.q, one, one), sdpa(self.q, one.copy(), one.copy()))

    def test_read_only_and_other_arrays(self):
        q = self.q.copy()
        q.flags.writeable = False
        np.testing.assert_array_equal(sdpa(q, self.k, self.v), self.y)

        class Interface:
            __array_interface__ = self.q.__array_interface__
        one = self.q[0, 0]
        rows = (ctypes.c_float * one.shape[1] * one.shape[0]).from_buffer_copy(one)     # its buffer has no strides
        np.testing.assert_array_equal(sdpa(rows, one, one), sdpa(one, one, one))
        self.assertEqual(sdpa(*[self.q[:0]] * 3, key_lengths=[]).shape, (0, *self.q.shape[1:]))
        for other in (self.q.tolist(), Interface(), memoryview(self.q)):
            with self.subTest(type(other)):
                x = np.asarray(other, np.float64 if isinstance(other, list) else np.float32)
                got = sdpa(other, *(x.astype(x.dtype) for _ in range(2)))
                self.assertIsInstance(got, np.ndarray)

    def test_any_byte_but_0_is_true(self):
        q, k, v = (x[0] for x in (self.q, self.k, self.v))
        rng = np.random.default_rng(0)
        for shape in ((8, 8), (3, 8, 8), (1, 8), (1, 1)):
            odd = rng.choice(np.array([0, 0, 2, 3, 128, 255], np.uint8), shape)
            for name, view in (("plain", lambda x: x), ("transposed", np.asfortranarray),
                               ("spread", lambda x: np.repeat(x, 2, -1)[..., ::2])):
                with self.subTest(name, shape=shape):
                    mask = view(odd).view(np.bool_)
                    np.testing.assert_array_equal(sdpa(q, k, v, mask=mask), sdpa(q, k, v, mask=odd != 0))
                    one = q[:, :1], k, v                    # another kernel
                    np.testing.assert_array_equal(sdpa(*one, mask=mask[..., :1, :]), sdpa(*one, mask=odd[..., :1, :] != 0))

    def test_inputs_stay(self):
        before = [x.copy() for x in (self.q, self.k, self.v)]
        grad(self.y, self.q, self.k, self.v)
        for a, b in zip(before, (self.q, self.k, self.v)):
            np.testing.assert_array_equal(a, b)

    def test_out(self):
        for name, out in {
            "plain": np.empty_like(self.y),
            "rows apart": np.empty((2, 3, 8, 9), np.float32)[..., 2:6],
            "transposed": np.empty((4, 8, 3, 2), np.float32).T,
            "unaligned": np.empty(self.y.shape, dtype=[("pad", "i1"), ("x", "f4")])["x"],
        }.items():
            with self.subTest(name):
                self.assertIs(sdpa(self.q, self.k, self.v, out=out), out)
                np.testing.assert_array_equal(out, self.y)
        for name in "qkv":
            with self.subTest("out is " + name):
                arrays = {n: getattr(self, n).copy() for n in "qkv"}
                sdpa(**arrays, out=arrays[name])
                np.testing.assert_array_equal(arrays[name], self.y)
        both = sdpa(self.q, self.k, self.v, out=(out := np.empty_like(self.y)), return_lse=True)
        self.assertIs(both.y, out)
        half = [x.astype(np.float16) for x in (self.q, self.k, self.v)]
        out = np.empty((2, 3, 8, 8), np.float16)[..., ::2]
        sdpa(*half, out=out)
        np.testing.assert_array_equal(out, sdpa(*half))

    def test_threads_do_not_change_results(self):
        q, k, v, dy = make(9, *[(2, 4, 300, 16)] * 4)
        one = grad(dy, q, k, v, threads=1)
        for threads in (None, 2, 1000):
            for a, b in zip(one[:3], grad(dy, q, k, v, threads=threads)):
                np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(sdpa(q, k, v, threads=1), sdpa(q, k, v))


class Results(unittest.TestCase):
    def test_named_tuples(self):
        q, = make(10, (3, 4))
        self.assertIsInstance(sdpa(q, q, q), np.ndarray)
        for options, fields in (({"return_lse": True}, ("y", "lse")), ({"return_probs": True}, ("y", "probs")),
                                ({"return_lse": True, "return_probs": True}, ("y", "lse", "probs"))):
            self.assertEqual(sdpa(q, q, q, **options)._fields, fields)
        self.assertEqual(grad(q, q, q, q)._fields, ("dq", "dk", "dv", "dbias"))

    def test_signatures(self):
        self.assertEqual(
            str(inspect.signature(sdpa)),
            "(q, k, v, *, mask=None, bias=None, key_lengths=None, scale=None, causal=False, align=None, query_offset=None, "
            "window=None, softcap=0.0, return_lse=False, return_probs=False, out=None, threads=None)")
        names = list(inspect.signature(grad).parameters)
        self.assertEqual(names[:7], ["dy", "q", "k", "v", "y", "lse", "dlse"])
        # Every parameter that the signature names is taken.
        q, = make(11, (2, 3))
        values = {"mask": np.ones((2, 2), bool), "bias": np.zeros((2, 2), np.float32), "key_lengths": None, "scale": 1.0,
                  "causal": True, "align": "top_left", "query_offset": None, "window": (1, 1), "softcap": 1, "threads": 1,
                  "return_lse": True, "return_probs": True, "out": np.empty((2, 3), np.float32)}
        sdpa(q, q, q, **{n: values[n] for n in inspect.signature(sdpa).parameters if n not in "qkv"})

    def test_stubs_say_what_is_there(self):
        stubs = ast.parse(pathlib.Path(fovea.__file__).with_name("_core.pyi").read_text(encoding="utf-8")).body
        core = sys.modules["fovea._core"]
        names = {node.name for node in stubs if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        self.assertEqual(names, {name for name in vars(core) if not name.startswith("_")})
        for node in stubs:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("scaled"):
                said = [*(a.arg for a in node.args.args), *(a.arg for a in node.args.kwonlyargs)]
                self.assertEqual(said, list(inspect.signature(getattr(fovea, node.name)).parameters))
        for name in fovea.__all__:
            self.assertTrue(hasattr(fovea, name), name)


if __name__ == "__main__":
    unittest.main()
