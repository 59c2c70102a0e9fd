"""fovea.Model, fovea.gradcheck and fovea.ops."""
import json
import pathlib
import tempfile
import unittest

from support import fovea, np

LINEAR = {
    "fovea": 1,
    "name": "linear",
    "dims": {"rows": None, "width": 2},
    "inputs": {"x": {"shape": ["rows", "width"]}},
    "params": {"w": {"shape": ["width", 3], "init": {"normal": {}}}},
    "nodes": [
        {"name": "y", "op": "matmul", "inputs": ["x", "w"]},
        {"name": "sq", "op": "square", "inputs": ["y"]},
        {"name": "loss", "op": "mean", "inputs": ["sq"]},
    ],
    "outputs": {"y": "y", "loss": "loss"},
}


class Models(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.path = self.folder / "linear.json"
        self.path.write_text(json.dumps(LINEAR), encoding="utf-8")
        self.x = np.arange(8, dtype=np.float32).reshape(4, 2)

    def test_run_with_open_dims(self):
        model = fovea.Model(self.path)
        self.assertEqual(model.inputs, {"x": None})
        for rows in (4, 2, 0):
            got = model.run(x=self.x[:rows])
            np.testing.assert_allclose(got["y"], self.x[:rows] @ model.params["w"], rtol=1e-6)
            self.assertEqual(list(got), ["y", "loss"])
        np.testing.assert_array_equal(model.run({"x": self.x.tolist()})["y"], model.run(x=self.x)["y"])

    def test_specs(self):
        model = fovea.Model(self.path, dims={"rows": 5})
        self.assertEqual(model.inputs, {"x": ((5, 2), "f32")})
        self.assertEqual(model.outputs, {"y": ((5, 3), "f32"), "loss": ((), "f32")})
        self.assertEqual({name: x.shape for name, x in model.params.items()}, {"w": (2, 3)})
        text = repr(model)
        for part in ("linear", "(rows=5, width=2)", "to be given", "f32 (width=2, 3)", "output", "6 numbers in 1 params"):
            self.assertIn(part, text)

    def test_open_dims(self):
        model = fovea.Model(self.path)
        for part in ("input   x     f32 (rows, width=2)", "param   w     f32 (width=2, 3)", "output  y     f32 (rows, 3)", "rows: no size"):
            self.assertIn(part, repr(model))
        model.params["w"] = np.eye(2, 3)
        np.testing.assert_array_equal(model.run(x=self.x)["y"][:, :2], self.x)
        np.testing.assert_array_equal(fovea.Model(self.path).params["w"], fovea.Model(self.path, dims={"rows": 4}).params["w"])
        free = dict(LINEAR, dims={"rows": None, "width": None})
        self.path.write_text(json.dumps(free), encoding="utf-8")
        with self.assertRaisesRegex(ValueError, "width.*no size"):
            fovea.Model(self.path).params

    def test_params_are_live(self):
        model = fovea.Model(self.path, dims={"rows": 4})
        model.params["w"] = np.eye(2, 3)
        np.testing.assert_array_equal(model.run(x=self.x)["y"][:, :2], self.x)
        model.params["w"] *= 2
        np.testing.assert_array_equal(model.run(x=self.x)["y"][:, :2], 2 * self.x)
        model.params["w"][0, 0] = 0
        np.testing.assert_array_equal(model.run(x=self.x)["y"][:, 0], 0 * self.x[:, 0])
        model.params = {"w": np.zeros((2, 3))}
        np.testing.assert_array_equal(model.run(x=self.x)["loss"], 0)
        with self.assertRaisesRegex(ValueError, "is required"):
            model.params["w"] = np.zeros((3, 3))
        with self.assertRaisesRegex(KeyError, "no such param"):
            model.params["v"] = np.zeros((2, 3))

    def test_writing_between_runs(self):
        model = fovea.Model(self.path, dims={"rows": 2})
        eye = np.eye(2, dtype=np.float32)

        def same():
            for _ in range(3):                              # matrices are packed before the third at the latest
                for x in (eye, -eye):
                    np.testing.assert_array_equal(model.run(x=x)["y"], x @ want)
        want = model.params["w"].copy()
        same()
        for hold in (lambda w: w, lambda w: w[:, 1:], lambda w: w.T, lambda w: np.asarray(memoryview(w)), np.ndarray.ravel):
            held = hold(model.params["w"])
            same()
            held[-1:] += 1
            hold(want)[-1:] += 1                            # without asking the model again
            same()
            del held
            same()
            model.params["w"][...] = want = want + 1
            same()
            model.params["w"] = want = want * 2
            same()

    def test_sizes_do_not_change_params(self):
        free = dict(LINEAR, dims={"rows": None, "width": None})
        self.path.write_text(json.dumps(free), encoding="utf-8")
        model = fovea.Model(self.path)
        model.run(x=self.x)
        with self.assertRaisesRegex(ValueError, r"params: w is \(2, 3\); with these inputs \(4, 3\) is required"):
            model.run(x=self.x.reshape(2, 4))

    def test_messages_name_what_python_has(self):
        for says, call in (('has no size; say dims={"rows": N}', lambda: fovea.Model(self.path).outputs),
                           ('dims: unknown dim "row"', lambda: fovea.Model(self.path, dims={"row": 1})),
                           ('rows is 3 by dims={"rows": 3}', lambda: fovea.Model(self.path, dims={"rows": 3}).run(x=self.x)),
                           ("are allowed$", lambda: fovea.Model(self.path).run(x=np.broadcast_to(np.float32(0), (1 << 50, 2))))):
            with self.subTest(says), self.assertRaisesRegex(ValueError, says):
                call()

    def test_weights(self):
        w = np.arange(6.0).reshape(2, 3)
        np.savez(self.folder / "w.npz", w=w.astype(np.float32))
        for weights in (self.folder / "w.npz", {"w": w}):
            model = fovea.Model(self.path, weights=weights)
            np.testing.assert_allclose(model.run(x=self.x)["y"], self.x @ w)
        with self.assertRaises(ValueError):
            fovea.Model(self.path, weights=self.folder / "none.npz")

    def test_gradients(self):
        model = fovea.Model(self.path)
        d = model.grad(x=self.x, of="loss")
        w = model.params["w"]
        y = self.x @ w
        np.testing.assert_allclose(d["w"], self.x.T @ (2 * y / y.size), rtol=1e-4)
        np.testing.assert_allclose(d["x"], (2 * y / y.size) @ w.T, rtol=1e-4, atol=1e-5)
        dy = np.random.default_rng(0).standard_normal(y.shape).astype(np.float32)
        d = model.grad(x=self.x, cotangents={"y": dy}, wrt="w")
        self.assertEqual(list(d), ["w"])
        np.testing.assert_allclose(d["w"], self.x.T @ dy, rtol=1e-5)
        with self.assertRaisesRegex(ValueError, "cotangents"):
            model.grad(x=self.x, of="y")
        with self.assertRaisesRegex(ValueError, "unknown name"):
            model.grad(x=self.x, of="loss", wrt="v")

    def test_training_lowers_the_loss(self):
        model = fovea.Model(self.path)
        before = model.run(x=self.x)["loss"]
        for _ in range(20):
            for name, gradient in model.grad(x=self.x, of="loss", wrt="w").items():
                model.params[name] -= 0.01 * gradient
        self.assertLess(model.run(x=self.x)["loss"], 0.5 * before)

    def test_gradcheck(self):
        report = fovea.Model(self.path, dims={"rows": 3}).gradcheck()
        self.assertTrue(report.passed)
        self.assertEqual((report.verdict, sorted(row.name for row in report.rows)), ("pass", ["w", "x"]))
        self.assertIn("pass", str(report))
        self.assertTrue(fovea.gradcheck(self.path, x=self.x))
        self.assertTrue(fovea.gradcheck(ops="softmax")["softmax"])
        with self.assertRaises(TypeError):
            fovea.gradcheck()
        with self.assertRaisesRegex(ValueError, "softmax"):
            fovea.gradcheck(ops=["sofmax"])

    def test_refusals(self):
        model = fovea.Model(self.path)
        with self.assertRaisesRegex(ValueError, "rows"):
            model.outputs
        with self.assertRaisesRegex(ValueError, "rows"):
            model.run()
        sized = fovea.Model(self.path, dims={"rows": 4})
        with self.assertRaisesRegex(TypeError, "x"):
            sized.run()
        with self.assertRaises(ValueError):
            model.run(x=self.x, z=self.x)
        with self.assertRaises(ValueError):
            model.run(x=np.zeros(4))
        for error, says, call in (
                (TypeError, "'rows'] is 2.5", lambda: fovea.Model(self.path, dims={"rows": 2.5})),
                (ValueError, "'rows'] is -1", lambda: fovea.Model(self.path, dims={"rows": -1})),
                (TypeError, "dims are list", lambda: fovea.Model(self.path, dims=[("rows", 2)])),
                (ValueError, "seed is -1", lambda: fovea.Model(self.path, seed=-1)),
                (TypeError, "seed is 'a'", lambda: model.gradcheck(x=self.x, seed="a")),
                (TypeError, "inputs are ndarray", lambda: model.run(self.x)),
                (ValueError, "inhomogeneous", lambda: model.run(x=[[1, 2], [3]])),
                (TypeError, "w is complex128; f32", lambda: sized.params.update(w=np.ones((2, 3), complex))),
                (TypeError, "w is <U1; f32", lambda: sized.params.update(w="a"))):
            with self.subTest(says), self.assertRaisesRegex(error, says):
                call()
        broken = dict(LINEAR, nodes=[dict(LINEAR["nodes"][0], op="matmull")] + LINEAR["nodes"][1:])
        self.path.write_text(json.dumps(broken), encoding="utf-8")
        with self.assertRaisesRegex(ValueError, 'did you mean "matmul"') as caught:
            fovea.Model(self.path)
        self.assertIn("linear.json:1:", caught.exception.diagnostics[0][0])
        with self.assertRaises(ValueError):
            fovea.Model(self.folder / "none.json")

    def test_ops(self):
        table = {op["name"]: op for op in fovea.ops()}
        self.assertEqual(table["softmax"]["inputs"], [("x", "required")])
        self.assertEqual([slot[0] for slot in table["attention"]["outputs"]], ["y", "lse", "scores", "probs"])
        self.assertIn("causal", [attribute[0] for attribute in table["attention"]["attributes"]])


if __name__ == "__main__":
    unittest.main()
