"""Runs the models in examples/ with the command, as their docs and the README say."""
import json
import pathlib
import subprocess
import sys
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


class EveryModel(unittest.TestCase):
    def test_it_is_valid_and_runs_without_any_option(self):
        models = sorted(EXAMPLES.glob("*.json"))
        self.assertGreater(len(models), 4)
        for model in models:
            with self.subTest(model=model.name):
                fovea("validate", model)
                fovea("run", model)

    def test_its_gradients_are_right(self):
        for model in sorted(EXAMPLES.glob("*.json")):
            with self.subTest(model=model.name):
                report = json.loads(fovea("gradcheck", model, "--json"))
                self.assertEqual(report["verdict"], "pass")


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


if __name__ == "__main__":
    sys.exit(unittest.main())
