"""Runs the models in examples/ with the command, as their docs and the README say."""
import array
import json
import math
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

FOVEA = pathlib.Path("cli/fovea").absolute()
EXAMPLES = pathlib.Path("examples").absolute()


def fovea(*words, status=0):
    done = subprocess.run([FOVEA, *words], check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def arrays(*words):
    """{name: (shape, flat list)}"""
    def flat(value):
        return [x for part in value for x in flat(part)] if isinstance(value, list) else [float(value)]

    return {name: (entry["shape"], flat(entry["value"])) for name, entry in json.loads(fovea(*words, "--json")).items()}


def read_safetensors(path):
    """{name: flat list} of a file of F64 tensors."""
    content = path.read_bytes()
    size, = struct.unpack_from("<Q", content)
    header = json.loads(content[8:8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        assert entry["dtype"] == "F64"
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        tensors[name] = list(array.array("d", content[begin:end]))
    return tensors


class EveryModel(unittest.TestCase):
    def test_it_is_valid_and_runs_without_any_option(self):
        models = sorted(EXAMPLES.glob("*.json"))
        self.assertGreater(len(models), 5)
        for model in models:
            with self.subTest(model=model.name):
                fovea("validate", model)
                fovea("run", model)

    def test_its_gradients_are_right(self):
        for model in sorted(EXAMPLES.glob("*.json")):
            with self.subTest(model=model.name):
                report = json.loads(fovea("gradcheck", model, "--json"))
                self.assertEqual(report["verdict"], "pass")


class Transformer(unittest.TestCase):
    MODEL = EXAMPLES / "transformer.json"

    def test_the_loss_of_an_untrained_model(self):
        _, (loss,) = arrays("run", self.MODEL)["loss"]
        self.assertAlmostEqual(loss, math.log(32), delta=0.7)

    def test_every_parameter_has_a_gradient(self):
        gradients = arrays("grad", self.MODEL, "--of", "loss")
        self.assertEqual(len(gradients), 2 + 2 * 7)
        for name, (_, values) in gradients.items():
            with self.subTest(name=name):
                self.assertGreater(max(map(abs, values)), 0)

    def test_other_sizes(self):
        shape, _ = arrays("run", self.MODEL, "--dim", "length=5", "--dim", "layers=4")["logits"]
        self.assertEqual(shape, [2, 5, 32])
        self.assertIn("layers.3.w_qkv", arrays("grad", self.MODEL, "--of", "loss", "--dim", "layers=4"))


class DifferentialAttention(unittest.TestCase):
    def test_what_is_inside_makes_what_comes_out(self):
        model = EXAMPLES / "differential_attention.json"
        inside = arrays("run", model, "--values", "first.probs,second.probs,lambda,v,y", "--dtype", "f64")
        first, second, (lam,), v, y = (inside[name][1] for name in ("first.probs", "second.probs", "lambda", "v", "y"))
        heads, length, width = 2, 6, 8
        for head in range(heads):
            for i in range(length):
                row = (head * length + i) * length
                for column in range(width):
                    expected = sum((first[row + j] - lam * second[row + j]) * v[(head * length + j) * width + column]
                                   for j in range(length))
                    self.assertAlmostEqual(y[(head * length + i) * width + column], expected, delta=1e-14)


class FromPyTorch(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Not as links out of the folder, which weights must not be.
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(shutil.copytree(EXAMPLES / "from_pytorch", pathlib.Path(folder.name, "copy")))
        cls.model = cls.folder / "encoder.json"
        cls.inputs = ["--inputs", cls.folder / "inputs.safetensors"]

    def test_the_results_are_pytorchs(self):
        run = ["run", self.model, *self.inputs, "--expect", self.folder / "expected.safetensors"]
        # Expected are f64 results for f32 weights; some 20 roundings of 6e-8 each stand between input and output.
        fovea(*run, "--rtol", "1e-5", "--atol", "1e-5")
        # The same roundings, of 1e-16.
        fovea(*run, "--dtype", "f64", "--rtol", "1e-13", "--atol", "1e-13")

    def test_the_gradients_are_pytorchs(self):
        _, dx = arrays("grad", self.model, *self.inputs, "--cotangents", self.folder / "cotangents.safetensors",
                       "--wrt", "x", "--dtype", "f64")["x"]
        expected = read_safetensors(self.folder / "expected_gradients.safetensors")["x"]
        self.assertEqual(len(dx), len(expected))
        for one, other in zip(dx, expected):
            self.assertAlmostEqual(one, other, delta=1e-12)

    def test_weights_of_another_model_are_refused(self):
        other = self.folder / "other.json"
        other.write_text(self.model.read_text(encoding="utf-8").replace('"layers": 2', '"layers": 3'), encoding="utf-8")
        fovea("run", other, *self.inputs, status=2)


if __name__ == "__main__":
    sys.exit(unittest.main())
