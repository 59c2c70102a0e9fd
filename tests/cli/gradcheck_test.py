"""`fovea gradcheck`: its options, its files, and the ready main for ops of one's own."""

import json
import pathlib
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree as xml

ROOT = pathlib.Path().absolute()
FOVEA = ROOT / "cli/fovea"
BROKEN = ROOT / "tests/cli/broken_op"
ATTENTION = str(ROOT / "examples/attention.json")

MODEL = """{
  "fovea": 1,
  "inputs": {"x": {"shape": [5, 4], "dtype": "f64"}},
  "nodes": [
    {"name": "small", "op": "tanh", "inputs": ["x"]},
    {"name": "bad", "op": "broken", "inputs": ["small"], "attrs": {"factor": 3}},
    {"name": "y", "op": "exp", "inputs": ["bad"]}
  ],
  "outputs": ["y"]
}
"""

FUSED = """{
  "fovea": 1,
  "inputs": {"q": {"shape": [3, 2]}},
  "nodes": [{"op": "attention", "inputs": ["q", "q", "q"], "name": "y", "attrs": {"require": "fused"}}],
  "outputs": ["y"]
}
"""


def run(program, *words):
    result = subprocess.run([str(program), *words], capture_output=True, text=True, check=False)
    return result.returncode, result.stdout, result.stderr


class GradcheckTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def path(self, name):
        return str(self.folder / name)

    def test_a_model_that_is_right_passes_with_edges_and_files(self):
        status, out, _ = run(FOVEA, "gradcheck", ATTENTION, "--edges", "--seed", "3", "--report",
                             self.path("r.json"), "--junit", self.path("j.xml"), "--svg",
                             self.path("s.svg"))
        self.assertEqual(status, 0, out)
        self.assertIn("NaN hidden key", out)
        self.assertTrue(all(len(line) <= 100 for line in out.splitlines() if "json" not in line))
        report = json.loads(pathlib.Path(self.path("r.json")).read_text())
        self.assertEqual((report["verdict"], report["seed"]), ("pass", 3))
        suite = xml.parse(self.path("j.xml")).getroot()[0]
        self.assertEqual(suite.get("failures"), "0")
        self.assertEqual(int(suite.get("tests")), len(report["rows"]))
        xml.parse(self.path("s.svg"))

    def test_orders(self):
        self.assertEqual(run(FOVEA, "gradcheck", "--ops", "softmax,attention", "--order", "2")[0], 0)
        status, _, error = run(FOVEA, "gradcheck", "--ops", "softmax", "--order", "0")
        self.assertEqual(status, 2)
        self.assertIn("--order", error)

    def test_a_budget_is_kept_openly(self):
        status, out, _ = run(FOVEA, "gradcheck", ATTENTION, "--budget", "0s")
        self.assertEqual(status, 1)
        self.assertIn("left out for lack of time", out)
        self.assertEqual(run(FOVEA, "gradcheck", ATTENTION, "--budget", "soon")[0], 2)

    def test_the_ready_main_checks_the_ops_that_are_added(self):
        status, out, _ = run(BROKEN)
        self.assertEqual(status, 1)
        self.assertIn("broken.x", out)
        self.assertNotIn("softmax", out)
        self.assertIn("repeat: fovea gradcheck --ops broken --seed 0", out)
        self.assertEqual(run(BROKEN, "--ops", "softmax")[0], 0)

    def test_laws_of_ops(self):
        status, out, _ = run(FOVEA, "gradcheck", "--ops", "relu,greater", "--laws")
        self.assertEqual(status, 0, out)
        self.assertIn("relu: 14 laws, 0 failures", out)
        self.assertIn("greater: 14 laws, 0 failures", out)
        status, out, _ = run(BROKEN, "--laws")
        self.assertEqual(status, 1)
        self.assertIn("law 4: gradient of broken.x at [", out)
        for words in ([ATTENTION], ["--ops", "relu", "--order", "2"]):
            status, _, error = run(FOVEA, "gradcheck", *words, "--laws")
            self.assertEqual(status, 2)
            self.assertIn("--laws", error)

    def test_second_order_of_what_must_stay_fused_is_refused_with_its_place(self):
        path = self.path("model.json")
        pathlib.Path(path).write_text(FUSED)
        status, _, error = run(FOVEA, "gradcheck", path, "--order", "2")
        self.assertEqual(status, 2)
        self.assertRegex(error, r"model.json:4:\d+: /nodes/0: attention")

    def test_a_failure_is_located_and_reproduced(self):
        pathlib.Path(self.path("model.json")).write_text(MODEL)
        small = self.path("small")
        status, out, _ = run(BROKEN, self.path("model.json"), "--repro", small, "--svg",
                             self.path("s.svg"), "--report", self.path("r.json"))
        self.assertEqual(status, 1)
        self.assertIn("disagrees: broken (bad), ", out)
        self.assertIn("model.json:6:5: /nodes/1", out)
        self.assertIn("input x at [4, ", out)
        culprit = json.loads(pathlib.Path(self.path("r.json")).read_text())["culprits"][0]
        self.assertIn("<rect", pathlib.Path(self.path("s.svg")).read_text())
        command = next(line for line in out.splitlines() if "alone: fovea gradcheck" in line)
        words = command.split("fovea gradcheck ")[1].split()
        status, out, _ = run(BROKEN, *words, "--report", self.path("again.json"))
        self.assertEqual(status, 1)
        again = json.loads(pathlib.Path(self.path("again.json")).read_text())["rows"][0]
        self.assertEqual(again["worst"], culprit["row"]["worst"])
        self.assertAlmostEqual(again["analytic"], culprit["row"]["analytic"], 12)

    def test_a_failure_in_a_repeated_block_has_its_whole_name(self):
        pathlib.Path(self.path("model.json")).write_text("""{
  "fovea": 1, "inputs": {"x": {"shape": [5, 4], "dtype": "f64", "init": {"uniform": {"low": -1, "high": 1}}}},
  "blocks": {"layer": {"inputs": {"h": {"shape": [5, 4], "dtype": "f64"}},
    "nodes": [{"name": "t", "op": "tanh", "inputs": ["h"]},
              {"name": "bad", "op": "broken", "inputs": ["t"]}], "outputs": ["bad"]}},
  "nodes": [{"name": "net", "block": "layer", "inputs": ["x"], "repeat": 3}], "outputs": ["net"]
}""")
        status, out, _ = run(BROKEN, self.path("model.json"), "--report", self.path("r.json"))
        self.assertEqual(status, 1)
        self.assertIn("disagrees: broken (net.0.bad), ", out)
        culprit = json.loads(pathlib.Path(self.path("r.json")).read_text())["culprits"][0]
        self.assertEqual(culprit["name"], "net.0.bad")
        self.assertTrue(culprit["location"].endswith("model.json:5:15: /blocks/layer/nodes/1"), culprit["location"])


if __name__ == "__main__":
    unittest.main()
