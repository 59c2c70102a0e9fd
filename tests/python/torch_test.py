"""PyTorch tensors, and fovea.torch against torch.nn.functional."""
import inspect
import random
import unittest

from support import fovea, module_or_skip, np

torch = module_or_skip("torch")

import torch.nn.functional as F  # noqa: E402

from fovea.torch import scaled_dot_product_attention as attend  # noqa: E402

torch.manual_seed(0)


def make(*shapes, dtype=torch.float32, grad=False):
    return [torch.randn(shape, dtype=dtype, requires_grad=grad) for shape in shapes]


class Tensors(unittest.TestCase):
    def test_results_are_tensors_and_equal_numpys(self):
        q, k, v = make((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 7))
        arrays = [x.numpy() for x in (q, k, v)]
        y, lse = fovea.scaled_dot_product_attention(q, k, v, return_lse=True)
        expected = fovea.scaled_dot_product_attention(*arrays, return_lse=True)
        self.assertIsInstance(y, torch.Tensor)
        self.assertTrue(torch.equal(y, torch.from_numpy(expected.y)) and torch.equal(lse, torch.from_numpy(expected.lse)))
        for a, b in zip(fovea.scaled_dot_product_attention_grad(y, q, k, v)[:3],
                        fovea.scaled_dot_product_attention_grad(expected.y, *arrays)[:3]):
            self.assertTrue(torch.equal(a, torch.from_numpy(b)))
        out = torch.empty(2, 5, 3, 7).transpose(1, 2)
        self.assertIs(fovea.scaled_dot_product_attention(q, k, v, out=out), out)
        self.assertTrue(torch.equal(out, y))

    def test_halves(self):
        for dtype in (torch.float16, torch.bfloat16):
            q, k, v = make((2, 3, 5, 8), (2, 3, 6, 8), (2, 3, 6, 8), dtype=dtype)
            y = fovea.scaled_dot_product_attention(q, k, v)
            self.assertEqual(y.dtype, dtype)
            self.assertTrue(torch.equal(y, fovea.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(dtype)))

    def test_refusals(self):
        q, = make((3, 4), grad=True)
        with self.assertRaisesRegex(TypeError, "detach"):
            fovea.scaled_dot_product_attention(q, q, q)
        with torch.no_grad():
            self.assertTrue(torch.equal(fovea.scaled_dot_product_attention(q, q, q), fovea.scaled_dot_product_attention(*[q.detach()] * 3)))
        plain = q.detach()
        for bad, says in ((torch.empty(3, 4, device="meta"), "device meta"), (plain.to_sparse(), "dense array")):
            with self.assertRaisesRegex(fovea.Error, says):
                fovea.scaled_dot_product_attention(bad, bad, bad)
        with self.assertRaisesRegex(fovea.Error, "negates"):
            fovea.scaled_dot_product_attention(plain, plain, plain, out=torch._neg_view(plain))
        with self.assertRaisesRegex(fovea.Error, "tracer"):
            torch.vmap(fovea.scaled_dot_product_attention)(*[plain[None]] * 3)

    def test_views_that_negate(self):
        z = torch.randn(3, 4, dtype=torch.complex64)
        q = z.conj().imag
        self.assertTrue(q.is_neg())
        self.assertTrue(torch.equal(fovea.scaled_dot_product_attention(q, q, q), fovea.scaled_dot_product_attention(*[-z.imag] * 3)))

    def test_results_are_on_the_cpu(self):
        q, = make((3, 4))
        with torch.device("meta"):
            y = fovea.scaled_dot_product_attention(q, q, q)
        self.assertTrue(torch.equal(y, fovea.scaled_dot_product_attention(q, q, q)))


CASES = {
    "plain": {"shapes": ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 7))},
    "rank 2": {"shapes": ((5, 4), (6, 4), (6, 7))},
    "rank 3": {"shapes": ((3, 5, 4), (3, 6, 4), (3, 6, 7))},
    "rank 5": {"shapes": ((2, 2, 3, 5, 4), (2, 2, 3, 6, 4), (2, 2, 3, 6, 7)), "mask": (3, 5, 6)},
    "broadcast": {"shapes": ((2, 3, 5, 4), (1, 3, 6, 4), (1, 1, 6, 7))},
    "causal": {"shapes": ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4)), "is_causal": True},
    "causal, long": {"shapes": ((1, 2, 9, 4), (1, 2, 6, 4), (1, 2, 6, 4)), "is_causal": True},
    "scale": {"shapes": ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4)), "scale": 0.3},
    "grouped": {"shapes": ((2, 6, 5, 4), (2, 2, 6, 4), (2, 2, 6, 4)), "enable_gqa": True},
    "grouped, rank 3": {"shapes": ((6, 5, 4), (2, 6, 4), (2, 6, 4)), "enable_gqa": True},
    "grouped, each in its own way": {"shapes": ((2, 6, 5, 4), (2, 2, 6, 4), (2, 3, 6, 4)), "enable_gqa": True},
    "nothing to compare": {"shapes": ((2, 3, 5, 0), (2, 3, 6, 0), (2, 3, 6, 4))},
    "mask of rank 1": {"shapes": ((2, 2, 3, 5, 4), (2, 2, 3, 6, 4), (2, 2, 3, 6, 4)), "mask": (6,)},
    "bool mask": {"shapes": ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4)), "mask": (2, 1, 5, 6)},
    "bias": {"shapes": ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4)), "bias": (3, 5, 6)},
    "empty, rank 5": {"shapes": ((2, 0, 3, 5, 4), (2, 0, 3, 6, 4), (2, 0, 3, 6, 7)), "mask": (3, 5, 6)},
    "no queries": {"shapes": ((2, 3, 0, 4), (2, 3, 6, 4), (2, 3, 6, 7))},
    "bias of rank 2": {"shapes": ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4)), "bias": (5, 6)},
}


def call_of(case, dtype=torch.float64, grad=True):
    """Arrays (the bias last, if any), and a function of these for an implementation."""
    case = dict(case)
    arrays = make(*case.pop("shapes"), dtype=dtype, grad=grad)
    mask, bias = case.pop("mask", None), case.pop("bias", None)
    mask = None if mask is None else torch.rand(mask) < 0.7
    if bias is not None:
        arrays += make(bias, dtype=dtype, grad=grad)

    def function(implementation):
        return lambda q, k, v, b=None: implementation(q, k, v, attn_mask=mask if b is None else b, **case)
    return arrays, function


class SameAsPyTorch(unittest.TestCase):
    def test_signature(self):
        self.assertEqual(str(inspect.signature(attend)),
                         "(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False)")

    def test_values_and_gradients(self):
        for name, case in CASES.items():
            with self.subTest(name):
                arrays, function = call_of(case)
                ours, theirs = function(attend)(*arrays), function(F.scaled_dot_product_attention)(*arrays)
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
                dy = torch.randn_like(ours)
                for a, b in zip(torch.autograd.grad(ours, arrays, dy), torch.autograd.grad(theirs, arrays, dy)):
                    torch.testing.assert_close(a, b, rtol=0, atol=1e-11)
                with torch.no_grad():
                    torch.testing.assert_close(function(attend)(*arrays), ours, rtol=0, atol=0)

    def test_gradcheck(self):
        for name, case in CASES.items():
            with self.subTest(name):
                arrays, function = call_of(case)
                self.assertTrue(torch.autograd.gradcheck(function(attend), arrays))

    def test_gradgradcheck(self):
        for name, case in CASES.items():
            with self.subTest(name):
                arrays, function = call_of(case)
                self.assertTrue(torch.autograd.gradgradcheck(function(attend), arrays))

    def test_random_shapes(self):
        rng = random.Random(0)
        for i in range(200):
            with self.subTest(i):
                batch, heads, lq, lk, e, ev = rng.randint(1, 3), rng.choice((1, 2, 4)), *(rng.randint(1, 40) for _ in range(4))
                kv_heads = rng.choice((1, heads))
                options = {"enable_gqa": kv_heads != heads, "scale": rng.choice((None, 0.3, -1.0))}
                kind = rng.choice(("none", "causal", "bool", "bias"))
                rows = lq if kind == "causal" else rng.choice((1, lq))
                if kind == "causal":
                    options["is_causal"] = True
                elif kind == "bool":                        # each query sees a key: others are NaN or 0, as PyTorch's kernel likes
                    options["attn_mask"] = torch.rand(batch, 1, rows, lk) < 0.7
                    options["attn_mask"][..., 0] = True
                elif kind == "bias":
                    options["attn_mask"] = torch.randn(heads, rows, lk, dtype=torch.float64)
                q, k, v = make((batch, heads, lq, e), (batch, kv_heads, lk, e), (batch, kv_heads, lk, ev), dtype=torch.float64)
                torch.testing.assert_close(attend(q, k, v, **options), F.scaled_dot_product_attention(q, k, v, **options),
                                           rtol=0, atol=1e-12)

    def test_autocast(self):
        q, k, v = make((1, 2, 8, 4), (1, 2, 8, 4), (1, 2, 8, 4), grad=True)
        mask = torch.randn(8, 8)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = attend(q.bfloat16(), k, v, mask)
            theirs = F.scaled_dot_product_attention(q.bfloat16(), k, v, mask)
        self.assertEqual(y.dtype, theirs.dtype)
        torch.testing.assert_close(y, theirs, rtol=2 ** -6, atol=2 ** -6)
        y.sum().backward()
        self.assertEqual(q.grad.dtype, torch.float32)

    def test_transforms(self):
        q, k, v = make((2, 3, 4), (2, 3, 4), (2, 3, 4), dtype=torch.float64)
        ours = torch.func.grad(lambda x: attend(x, k, v).square().sum())(q)
        theirs = torch.func.grad(lambda x: F.scaled_dot_product_attention(x, k, v).square().sum())(q)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
        with self.assertRaisesRegex(NotImplementedError, "forward-mode"):
            torch.func.jvp(lambda x: attend(x, k, v), (q,), (q,))
        with torch.autograd.forward_ad.dual_level(), self.assertRaisesRegex(NotImplementedError, "forward-mode"):
            attend(torch.autograd.forward_ad.make_dual(q, q), k, v)
        for call in (lambda: torch.func.jacrev(lambda x: attend(x, k, v))(q), lambda: torch.vmap(attend)(q, k, v)):
            with self.assertRaisesRegex(NotImplementedError, "vmap"):
                call()

        def twice(function):
            inner = torch.func.grad(lambda x: function(x, k, v).square().sum())
            return torch.func.grad(lambda x: inner(x).square().sum())(q)
        torch.testing.assert_close(twice(attend), twice(F.scaled_dot_product_attention), rtol=0, atol=1e-11)
        with self.assertRaisesRegex(NotImplementedError, "jit.trace"):
            torch.jit.trace(attend, (q, k, v))

    def test_hidden_rows(self):
        q, k, v = make((1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), dtype=torch.float64, grad=True)
        mask = torch.tensor([[True, False, True], [False] * 3, [True] * 3])
        y = attend(q, k, v, mask)
        self.assertTrue((y[:, :, 1] == 0).all())
        self.assertTrue(torch.autograd.gradcheck(lambda *x: attend(*x, mask), (q, k, v)))
        self.assertTrue(torch.autograd.gradgradcheck(lambda *x: attend(*x, mask), (q, k, v)))

    def test_some_need_no_gradient(self):
        q, k, v, bias = make((1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), (3, 3))
        k.requires_grad_()
        attend(q, k, v, bias).sum().backward()
        self.assertIsNone(q.grad)
        self.assertEqual(k.grad.shape, k.shape)

    def test_halves_train(self):
        q, k, v = make((1, 2, 8, 4), (1, 2, 8, 4), (1, 2, 8, 4), dtype=torch.bfloat16, grad=True)
        attend(q, k, v, is_causal=True).float().square().mean().backward()
        self.assertEqual(q.grad.dtype, torch.bfloat16)

    def test_refusals(self):
        q, = make((1, 2, 3, 4))
        with self.assertRaisesRegex(NotImplementedError, "dropout"):
            attend(q, q, q, dropout_p=0.1)
        with self.assertRaisesRegex(RuntimeError, "is_causal"):
            attend(q, q, q, torch.ones(3, 3, dtype=torch.bool), is_causal=True)
        with self.assertRaisesRegex(RuntimeError, "attn_mask is torch.int64"):
            attend(q, q, q, torch.ones(3, 3, dtype=torch.int64))
        with self.assertRaisesRegex(TypeError, "key is ndarray"):
            attend(q, q.numpy(), q)
        with self.assertRaisesRegex(TypeError, "attn_mask is ndarray"):
            attend(q, q, q, q.numpy())
        with self.assertRaisesRegex(RuntimeError, "enable_gqa with ranks 2"):
            attend(q[0, 0], q, q, enable_gqa=True)
        q.requires_grad_()
        [first] = torch.autograd.grad(attend(q, q, q).square().sum(), q, create_graph=True)
        [second] = torch.autograd.grad(first.square().sum(), q, create_graph=True)
        with self.assertRaisesRegex(NotImplementedError, "third order"):
            torch.autograd.grad(second.sum(), q)


if __name__ == "__main__":
    unittest.main()
