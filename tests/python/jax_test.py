"""JAX arrays in, JAX arrays out; and bfloat16, which ml_dtypes gives to NumPy."""
import unittest

from support import fovea, module_or_skip, np

jax = module_or_skip("jax")
ml_dtypes = module_or_skip("ml_dtypes")

import jax.numpy as jnp  # noqa: E402


def make(*shapes):
    return [jnp.asarray(np.random.default_rng(i).standard_normal(s), jnp.float32) for i, s in enumerate(shapes)]


class Arrays(unittest.TestCase):
    def test_results_are_jax_arrays_and_right(self):
        q, k, v = make((2, 5, 3, 8), (2, 6, 3, 8), (2, 6, 3, 8))               # (batch, length, heads, dim)
        swapped = [x.swapaxes(1, 2) for x in (q, k, v)]
        y = fovea.scaled_dot_product_attention(*swapped)
        self.assertIsInstance(y, jax.Array)
        np.testing.assert_allclose(y.swapaxes(1, 2), jax.nn.dot_product_attention(q, k, v), atol=1e-5)
        gradient = jax.grad(lambda *x: jnp.sum(jax.nn.dot_product_attention(*x) ** 2), (0, 1, 2))(q, k, v)
        ours = fovea.scaled_dot_product_attention_grad(2 * y, *swapped)
        for a, b in zip(ours, gradient):
            self.assertIsInstance(a, jax.Array)
            np.testing.assert_allclose(a.swapaxes(1, 2), b, atol=1e-4)

    def test_halves(self):
        for dtype in (jnp.bfloat16, jnp.float16):
            q, = (x.astype(dtype) for x in make((2, 5, 8)))
            y = fovea.scaled_dot_product_attention(q, q, q)
            self.assertEqual((type(y), y.dtype), (type(q), dtype))
            wide = fovea.scaled_dot_product_attention(*[q.astype(jnp.float32)] * 3)
            np.testing.assert_array_equal(np.asarray(y), np.asarray(wide.astype(dtype)))

    def test_bfloat16_in_numpy(self):
        q = np.random.default_rng(0).standard_normal((2, 5, 8)).astype(ml_dtypes.bfloat16)
        y = fovea.scaled_dot_product_attention(q, q, q)
        wide = fovea.scaled_dot_product_attention(*[q.astype(np.float32)] * 3)
        self.assertEqual((type(y), y.dtype), (np.ndarray, q.dtype))
        np.testing.assert_array_equal(y, wide.astype(ml_dtypes.bfloat16))
        out = np.empty((2, 5, 16), q.dtype)[..., ::2]
        self.assertIs(fovea.scaled_dot_product_attention(q, q, q, out=out), out)
        np.testing.assert_array_equal(out, y)

    def test_refusals(self):
        q, = make((5, 8))
        with self.assertRaisesRegex(TypeError, "cannot be written"):
            fovea.scaled_dot_product_attention(q, q, q, out=q)
        for transform in (jax.jit, jax.vmap):
            with self.assertRaisesRegex(fovea.Error, "tracer"):
                transform(fovea.scaled_dot_product_attention)(q, q, q)


if __name__ == "__main__":
    unittest.main()
