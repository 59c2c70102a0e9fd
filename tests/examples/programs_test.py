"""Runs the example programs as a user would."""
import pathlib
import subprocess
import tempfile
import unittest

EXAMPLES = pathlib.Path("examples")
MODEL = """{"fovea": 1, "inputs": {"x": {"shape": [2], "value": [-2, 3]}},
            "nodes": [{"name": "y", "op": "leaky_relu", "inputs": ["x"], "attrs": {"slope": 0.25}}], "outputs": ["y"]}"""


def run(program, *arguments):
    return subprocess.run([EXAMPLES / program, *arguments], capture_output=True, text=True, check=False)


class CustomOp(unittest.TestCase):
    def test_it_shows_what_an_op_of_ones_own_can_do(self):
        result = run("custom_op")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("pass: 1 pass, 0 fail", result.stdout)
        self.assertIn("y = [-0.2 -0.1  0.5  3. ]", result.stdout)
        self.assertIn("0 failures", result.stdout)

    def test_it_is_a_command_that_knows_the_op(self):
        documentation = run("custom_op", "ops", "leaky_relu")
        self.assertEqual(documentation.returncode, 0, documentation.stderr)
        self.assertIn("slope where x is not positive", documentation.stdout)
        with tempfile.TemporaryDirectory() as folder:
            model = pathlib.Path(folder, "model.json")
            model.write_text(MODEL, encoding="utf-8")
            result = run("custom_op", "run", str(model))
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("[-0.5  3. ]", result.stdout)
            model.write_text(MODEL.replace("slope", "slop"), encoding="utf-8")
            wrong = run("custom_op", "run", str(model))
            self.assertEqual(wrong.returncode, 2)
            self.assertIn("did you mean", wrong.stderr)


class GradcheckMain(unittest.TestCase):
    def test_it_checks_the_op(self):
        result = run("gradcheck_main")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("softsign", result.stdout)
        self.assertEqual(run("gradcheck_main", "--ops", "softsign,tanh").returncode, 0)
        self.assertEqual(run("gradcheck_main", "--ops", "sofsign").returncode, 2)


class AttentionLayer(unittest.TestCase):
    def test_it_learns_the_same_on_every_run(self):
        first, second = run("attention_layer"), run("attention_layer")
        self.assertEqual(first.returncode, 0, first.stdout + first.stderr)
        self.assertIn("bound 0.02: learned", first.stdout)
        self.assertEqual(first.stdout, second.stdout)


if __name__ == "__main__":
    unittest.main()
