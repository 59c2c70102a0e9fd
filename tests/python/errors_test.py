"""What the attention functions refuse: the exception, and what it says."""
import unittest

from support import fovea, np

sdpa, grad = fovea.scaled_dot_product_attention, fovea.scaled_dot_product_attention_grad
F32 = np.float32


class Refusals(unittest.TestCase):
    def setUp(self):
        self.q = np.ones((2, 3, 5, 4), F32)

    def refuse(self, error, says, *arrays, function=sdpa, **options):
        with self.assertRaises(error) as caught:
            function(*(arrays or (self.q, self.q, self.q)), **options)
        self.assertIn(says, str(caught.exception))
        self.assertRegex(str(caught.exception), r"^\w+: ")
        return caught.exception

    def test_exceptions(self):
        self.assertTrue(issubclass(fovea.Error, ValueError))
        self.assertTrue(issubclass(fovea.DTypeError, fovea.Error) and issubclass(fovea.DTypeError, TypeError))
        error = self.refuse(fovea.Error, "inner extents 4 and 3 differ", self.q, self.q[..., :3], self.q)
        self.assertEqual(error.diagnostics[0][1], "attention")

    def test_other_libraries_words(self):
        for word, ours in {"attn_mask": "mask=", "is_causal": "causal=", "enable_gqa": "fewer heads", "dropout_p": "dropout",
                           "key_value_seq_lengths": "key_lengths=", "window_size": "window="}.items():
            self.refuse(TypeError, ours, **{word: None})
        self.refuse(TypeError, "bias=", attn_mask=None)
        self.refuse(TypeError, 'did you mean "causal"', casual=True)
        self.refuse(TypeError, "unknown keyword", frobnicate=1)
        self.refuse(TypeError, "unknown keyword", **{"\ud800": 1})

    def test_masks(self):
        for mask in (np.zeros((5, 5), F32), np.zeros((5, 5), np.int64), [[0.0] * 5] * 5):
            error = self.refuse(TypeError, "bias=", mask=mask)
            self.assertIsInstance(error, ValueError)
        self.refuse(ValueError, "does not broadcast", mask=np.ones((4, 5), bool))
        self.refuse(ValueError, "does not broadcast", bias=np.ones((2, 1, 3, 5, 5), F32))
        self.refuse(TypeError, "one dtype", bias=np.ones((5, 5)))
        self.refuse(TypeError, "numbers", bias=np.ones((5, 5), bool))

    def test_arrays(self):
        q = self.q
        self.refuse(ValueError, "rank 1", q[0, 0, 0], q[0, 0, 0], q[0, 0, 0])
        self.refuse(ValueError, "rank 5", q[None], q[None], q[None])
        self.refuse(ValueError, "ranks", q, q[0], q)
        self.refuse(ValueError, "batches", q, q[:1], q)
        self.refuse(ValueError, "heads", q, q[:, :2], q[:, :2])
        self.refuse(ValueError, "lengths", q, q[:, :, :3], q)
        self.refuse(ValueError, "at least 1", q[..., :0], q[..., :0], q)
        self.refuse(TypeError, "one dtype", q, q.astype(np.float64), q)
        self.refuse(TypeError, "one dtype", q, q.astype(np.float16), q)
        for bad in (q.astype(complex), q.astype("U1"), q.astype(object), q.astype("M8[s]"), q > 0,
                    np.zeros(q.shape, [("a", "f4")]), q.astype(np.longdouble)):
            with self.subTest(bad.dtype):
                error = self.refuse(TypeError, "numbers are required", bad, q, q)
                self.assertIsInstance(error, ValueError)
        self.refuse(ValueError, "big-endian float32", q.astype(">f4"), q, q)
        self.refuse(TypeError, "masked", np.ma.masked_array(q), q, q)
        self.refuse(TypeError, "dtype object", q.astype(object), q, q)
        for bad in ("text", b"bytes", None, {}, object(), 3, [[1, "a"]]):
            with self.subTest(bad):
                with self.assertRaises((TypeError, ValueError)):
                    sdpa(bad, q, q)
        self.refuse(ValueError, "nested lists of equal lengths", [[1, 2], [3]], q, q)

    def test_missing_and_too_many(self):
        self.refuse(TypeError, "v is missing", self.q, self.q)
        self.refuse(TypeError, "positional", *[self.q] * 4)
        self.refuse(TypeError, "given twice", *[self.q] * 3, q=self.q)

    def test_options(self):
        self.refuse(TypeError, "True or False", causal="bottom_right")
        self.refuse(TypeError, "True or False", causal=1)
        self.refuse(ValueError, "top_left", align="top-left")
        self.refuse(TypeError, "text", align=3)
        self.refuse(ValueError, "one of them at most", align="top_left", query_offset=0)
        self.refuse(TypeError, "integer", query_offset=1.0)
        self.refuse(ValueError, "64 bits", query_offset=1 << 70)
        self.refuse(TypeError, "window", window=3)
        self.refuse(ValueError, "window", window=(1, 2, 3))
        self.refuse(TypeError, "integer", window=(1, "a"))
        self.refuse(ValueError, "window[0] is -1; a number of keys, or None", window=(-1, 2))
        self.refuse(TypeError, "scale is '1'; a number", scale="1")
        self.refuse(ValueError, "finite", scale=float("nan"))
        self.refuse(ValueError, "softcap", softcap=-1)
        self.refuse(ValueError, "threads", threads=0)
        self.refuse(TypeError, "threads is 1.5", threads=1.5)
        for error, threads in ((ValueError, 0), (ValueError, 1 << 40), (ValueError, 1 << 80), (TypeError, 1.5), (TypeError, None)):
            with self.subTest(threads=threads), self.assertRaisesRegex(error, "^set_num_threads: "):
                fovea.set_num_threads(threads)
        q = self.q
        self.refuse(ValueError, "bottom_right", q, q[:, :, :3], q[:, :, :3], causal=True)
        self.refuse(ValueError, "[0, 5]", key_lengths=[5, 6])
        self.refuse(ValueError, "one length for each", key_lengths=[5])
        self.refuse(TypeError, "integers", key_lengths=[5.0, 5.0])
        self.refuse(TypeError, "integers", key_lengths=[True, True])
        self.refuse(ValueError, "rank 2", *[q[0, 0]] * 3, key_lengths=[5])

    def test_out(self):
        self.refuse(ValueError, "result", out=np.empty((2, 3, 5, 5), F32))
        self.refuse(TypeError, "result", out=np.empty((2, 3, 5, 4)))
        read_only = np.empty_like(self.q)
        read_only.flags.writeable = False
        self.refuse(ValueError, "read-only", out=read_only)
        self.refuse(ValueError, "share memory", out=np.lib.stride_tricks.as_strided(
            np.empty(100, F32), (2, 3, 5, 4), (0, 0, 4, 4)))
        self.refuse(TypeError, "NumPy array", out=[[1.0]])

    def test_gradient(self):
        q = self.q
        dy, lse = np.ones_like(q), np.ones(q.shape[:3], F32)
        self.refuse(ValueError, "at least one", None, q, q, q, function=grad)
        self.refuse(ValueError, "dy is", dy[..., :3], q, q, q, function=grad)
        self.refuse(ValueError, "lse is", dy, q, q, q, function=grad, lse=lse[..., :2])
        self.refuse(TypeError, "one dtype", dy.astype(np.float64), q, q, q, function=grad)
        self.refuse(TypeError, "one dtype", dy, q, q, q, function=grad, lse=lse.astype(np.float64))
        self.refuse(TypeError, "unknown keyword", dy, q, q, q, function=grad, return_lse=True)

    def test_number_of_threads(self):
        for bad in (0, -1, 1025):
            with self.assertRaisesRegex(ValueError, "from 1 to 1024"):
                fovea.set_num_threads(bad)


if __name__ == "__main__":
    unittest.main()
