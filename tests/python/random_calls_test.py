"""Thousands of random calls: valid ones give right values, invalid ones raise, and memory stays where it was.

FOVEA_RANDOM_CALLS says how many of each (default 400).
"""
import os
import unittest

from support import SANITIZED, fovea, np, reference, tolerance

CALLS = int(os.environ.get("FOVEA_RANDOM_CALLS", 400))
sdpa, grad = fovea.scaled_dot_product_attention, fovea.scaled_dot_product_attention_grad


def strided(rng, x):
    """The same array in some other memory."""
    kind = rng.integers(4)
    if kind == 0 or x.ndim == 0:
        return x
    if kind == 1:
        return np.asfortranarray(x)
    if kind == 2:
        big = np.zeros([2 * n for n in x.shape], x.dtype)
        view = big[tuple(slice(None, None, 2) for _ in x.shape)]
        view[...] = x
        return view
    return np.ascontiguousarray(x[..., ::-1])[..., ::-1]


def random_call(rng):
    """Valid arguments: arrays of rank 4, options."""
    batch, kv_heads, groups = rng.integers(0, 3), rng.integers(1, 3), rng.integers(1, 3)
    lq, lk, dim, value_dim = rng.integers(0, 40), rng.integers(0, 40), rng.integers(1, 20), rng.integers(1, 20)
    dtype = (np.float32, np.float64)[rng.integers(2)]

    def normal(*shape):
        return strided(rng, np.asarray(rng.standard_normal(shape), dtype))
    heads = kv_heads * groups
    arrays = [normal(batch, heads, lq, dim), normal(batch, kv_heads, lk, dim), normal(batch, kv_heads, lk, value_dim)]
    scores, options = (batch, heads, lq, lk), {}
    shape = [n if rng.random() < 0.7 else 1 for n in scores][rng.integers(5):]
    if rng.random() < 0.3:
        options["mask"] = strided(rng, np.asarray(rng.random(shape) < 0.7))
    if rng.random() < 0.3:
        options["bias"] = normal(*shape)
    if rng.random() < 0.2:
        options["key_lengths"] = rng.integers(0, lk + 1, batch)
    if rng.random() < 0.3:
        options["causal"] = True
    if rng.random() < 0.3:
        options["window"] = tuple(None if rng.random() < 0.3 else int(rng.integers(0, 30)) for _ in "lr")
    if rng.random() < 0.5:
        options["align"] = ("top_left", "bottom_right")[rng.integers(2)]
    else:
        options["query_offset"] = int(rng.integers(-10, 50))
    if rng.random() < 0.2:
        options["softcap"] = float(rng.uniform(0.1, 3))
    if rng.random() < 0.3:
        options["scale"] = float(rng.normal())
    return arrays, options


BROKEN_ARRAYS = [
    lambda x: x[..., None, None, None], lambda x: x.reshape(-1), lambda x: x.astype(complex), lambda x: x.astype(object),
    lambda x: x.astype(">f4"), lambda x: np.concatenate([x, x], -1), lambda x: None, lambda x: "q", lambda x: {},
    lambda x: x.astype(np.float16), lambda x: x != 0, lambda x: np.zeros((3, 1, 1, 1), x.dtype), lambda x: object(),
    lambda x: np.ma.masked_array(x), lambda x: 1.0, lambda x: x.astype("S1"),
]
BROKEN_OPTIONS = [
    {"mask": np.zeros((), np.float32)}, {"mask": np.ones((1, 1, 1, 1, 1), bool)}, {"bias": np.zeros((2, 2, 2, 2, 2, 2))},
    {"bias": "x"}, {"key_lengths": [-1]}, {"key_lengths": [[1]]}, {"key_lengths": [1.5]}, {"scale": float("inf")},
    {"scale": "x"}, {"softcap": -1.0}, {"softcap": float("nan")}, {"causal": "yes"}, {"causal": 2}, {"window": (-1, 0)},
    {"window": 5}, {"window": (1,)}, {"align": "middle"}, {"align": "top_left", "query_offset": 1}, {"query_offset": 0.5},
    {"query_offset": 1 << 80}, {"threads": 0}, {"threads": "all"}, {"out": np.zeros((9, 9, 9, 99))}, {"out": 3},
    {"attn_mask": None}, {"is_causal": True}, {"return_lse": 5}, {"no_such": 1},
]


def resident():
    """Bytes of memory that this process has now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class RandomCalls(unittest.TestCase):
    def flat(self, rounds):
        """Memory stops growing: the second half of the calls adds less than a kilobyte for each."""
        half = resident()
        self.assertGreater(CALLS, 0)
        rounds()
        if not SANITIZED:                                   # a sanitizer keeps freed memory
            self.assertLess(resident() - half, (1 << 20) + 100 * CALLS)

    def valid(self, rng):
        arrays, options = random_call(rng)
        y, lse, _ = reference(*arrays, **options)
        result = sdpa(*arrays, return_lse=True, **options)
        np.testing.assert_allclose(result.y, y, rtol=0, atol=4 * tolerance(arrays[0].dtype, y))
        np.testing.assert_array_equal(np.isfinite(result.lse), np.isfinite(lse))
        d = grad(result.y, *arrays, y=result.y, lse=result.lse, **options)
        for gradient, x in zip(d, (*arrays, options.get("bias"))):
            if x is not None:
                self.assertEqual((gradient.shape, gradient.dtype), (x.shape, x.dtype))
                self.assertTrue(np.isfinite(gradient).all())

    def invalid(self, rng):
        arrays, options = random_call(rng)
        choice = rng.integers(3)
        if choice == 0:
            arrays[0] = BROKEN_ARRAYS[rng.integers(len(BROKEN_ARRAYS))](arrays[0])
            if isinstance(arrays[0], np.ndarray) and arrays[0].dtype == arrays[1].dtype and arrays[0].shape[:1] == (3,):
                arrays[1] = arrays[1][:0]
        elif choice == 1:
            options.update(BROKEN_OPTIONS[rng.integers(len(BROKEN_OPTIONS))])
            if "key_lengths" in options and len(arrays[0]) == 0:
                options["key_lengths"] = [1, 2, 3]
            if "align" in options:
                options.setdefault("query_offset", 1)
        else:
            arrays[1] = np.concatenate([arrays[1], arrays[1]], -1)
        with self.assertRaises((ValueError, TypeError)):
            if rng.integers(2):
                sdpa(*arrays, **options)
            else:
                options = {name: value for name, value in options.items() if name not in ("out", "return_lse")}
                grad(np.zeros((7, 7, 7, 77)), *arrays, **options)

    def test_valid_calls(self):
        for seed in range(CALLS // 2):
            self.valid(np.random.default_rng(seed))
        self.flat(lambda: [self.valid(np.random.default_rng(seed)) for seed in range(CALLS // 2, CALLS)])

    def test_invalid_calls(self):
        for seed in range(CALLS // 2):
            with self.subTest(seed=seed):
                self.invalid(np.random.default_rng(seed))
        self.flat(lambda: [self.invalid(np.random.default_rng(seed)) for seed in range(CALLS // 2, CALLS)])


if __name__ == "__main__":
    unittest.main()
