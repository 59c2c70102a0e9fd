"""fovea show, schema, and --json of every command."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

FOVEA = pathlib.Path("cli/fovea").absolute()
EXAMPLES = pathlib.Path("examples").absolute()

# Twelve layers of attention and a projection, with weights nobody has.
LAYERS = {
    "fovea": 1,
    "name": "layers & <more>",
    "dims": {"batch": 2, "length": None, "heads": 4, "width": 64, "layers": 12},
    "inputs": {"x": {"shape": ["batch", "length", "width"]}},
    "blocks": {"layer": {
        "inputs": {"h": {"shape": ["batch", "length", "width"]}},
        "params": {"w_qkv": {"shape": ["width", "3*width"]}, "w_out": {"shape": ["width", "width"]}},
        "nodes": [
            {"name": "qkv", "op": "matmul", "inputs": ["h", "w_qkv"]},
            {"name": "split", "op": "reshape", "inputs": ["qkv"], "attrs": {"shape": ["batch", "length", 3, "heads", "width/heads"]}},
            {"name": "bhld", "op": "transpose", "inputs": ["split"], "attrs": {"perm": [2, 0, 3, 1, 4]}},
            {"name": "q", "op": "select", "inputs": ["bhld"], "attrs": {"index": 0}},
            {"name": "k", "op": "select", "inputs": ["bhld"], "attrs": {"index": 1}},
            {"name": "v", "op": "select", "inputs": ["bhld"], "attrs": {"index": 2}},
            {"name": "att", "op": "attention", "inputs": ["q", "k", "v"], "attrs": {"causal": True}},
            {"name": "back", "op": "transpose", "inputs": ["att"], "attrs": {"perm": [0, 2, 1, 3]}},
            {"name": "flat", "op": "reshape", "inputs": ["back"], "attrs": {"shape": ["batch", "length", "width"]}},
            {"name": "y", "op": "matmul", "inputs": ["flat", "w_out"]},
            {"name": "z", "op": "add", "inputs": ["h", "y"]}],
        "outputs": {"z": "z"}}},
    "nodes": [{"name": "layers", "block": "layer", "inputs": ["x"], "repeat": "layers"},
              {"name": "twice", "op": "concat", "inputs": ["layers", "layers"], "attrs": {"axis": 1}}],
    "outputs": {"y": "twice", "first": "layers.0.att.probs"},
}

# softmax(q kᵀ) v of ops; the probabilities of the second are looked at.
COMPOSED = {
    "fovea": 1,
    "inputs": {name: {"shape": [2, 5, 4]} for name in "qkv"},
    "nodes": [
        {"name": "s", "op": "matmul", "inputs": ["q", "k"], "attrs": {"transpose_b": True}},
        {"name": "p", "op": "softmax", "inputs": ["s"]},
        {"name": "y", "op": "matmul", "inputs": ["p", "v"]},
        {"name": "t", "op": "matmul", "inputs": ["k", "q"], "attrs": {"transpose_b": True}},
        {"name": "r", "op": "softmax", "inputs": ["t"]},
        {"name": "z", "op": "matmul", "inputs": ["r", "v"]}],
    "outputs": {"y": "y", "z": "z", "r": "r"},
}


class Show(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.write("layers.json", LAYERS)
        self.write("composed.json", COMPOSED)

    def write(self, name, content):
        (self.folder / name).write_text(json.dumps(content), encoding="utf-8")

    def run_it(self, *words, status=0, **options):
        done = subprocess.run([FOVEA, *words], cwd=self.folder, stdin=subprocess.DEVNULL, check=False, stderr=subprocess.PIPE,
                              stdout=options.pop("stdout", subprocess.PIPE), timeout=60, **options)
        self.assertEqual(done.returncode, status, done.stderr.decode())
        return (done.stdout or b"").decode(), done.stderr.decode()

    def show(self, *words):
        return json.loads(self.run_it("show", *words, "--json")[0])

    # ---- figures

    def test_parameters_flops_and_bytes(self):
        shown = self.show("layers.json", "--dim", "length=16")
        layer = shown["nodes"][0]
        self.assertEqual((layer["block"], layer["repeat"]), ("layer", "12"))
        self.assertEqual(layer["parameters"], 12 * (64 * 192 + 64 * 64))
        self.assertEqual(shown["total"]["parameters"], layer["parameters"])
        self.assertEqual(shown["total"]["parameter_bytes"], 4 * layer["parameters"])
        self.assertEqual(shown["total"]["nodes"], 12 * 11 + 1)
        flops = {node["name"]: node["flops"] for node in layer["nodes"]}
        self.assertEqual(flops["qkv"], 2 * 2 * 16 * 64 * 192)
        self.assertEqual(flops["att"], 2 * 2 * 4 * 16 * 16 * (16 + 16))
        self.assertEqual(flops["split"], 0)
        self.assertEqual(flops["z"], 2 * 16 * 64)
        self.assertEqual(layer["flops"], 12 * sum(flops.values()))
        self.assertEqual(shown["total"]["flops"], layer["flops"])
        qkv = layer["nodes"][0]["outputs"][0]
        self.assertEqual((qkv["shape"], qkv["dims"], qkv["dtype"]), ([2, 16, 192], ["batch", "length", "3*width"], "f32"))
        self.assertEqual(qkv["bytes"], 4 * 2 * 16 * 192)
        self.assertGreater(shown["total"]["peak_bytes"], 4 * 2 * 16 * 192)

    def test_open_dims_keep_their_names(self):
        text = self.run_it("show", "layers.json")[0]
        for part in ["(batch=2, length, 3*width=192)", "(batch=2, 2*length, width=64)", "length open", "needs sizes: --dim length=N",
                     "196.6 K parameters", "block layer × 12"]:
            self.assertIn(part, text)
        self.assertNotIn("5040", text)
        total = self.show("layers.json")["total"]
        self.assertEqual((total["parameters"], total["flops"], total["peak_bytes"]), (12 * 64 * 256, None, None))
        self.assertEqual(self.show("layers.json")["nodes"][1]["outputs"][0]["shape"], [2, None, 64])

    def test_the_table_has_a_line_for_each_node_and_a_total(self):
        text = self.run_it("show", "layers.json", "--dim", "length=16")[0]
        for name in [node["name"] for node in LAYERS["blocks"]["layer"]["nodes"]]:
            self.assertRegex(text, rf"(?m)^    {name} ")
        self.assertRegex(text, r"(?m)^total: 133 nodes, 196.6 K parameters \(768 KiB\), .* planned peak memory ")
        self.assertEqual(self.run_it("show", "layers.json", "--quiet")[0], "")

    def test_paths_of_attention(self):
        nodes = {node["name"]: node for node in self.show("composed.json")["nodes"]}
        self.assertIn("composed of ops, now fused", nodes["y"]["attention"])
        self.assertIn("stays composed, its probabilities are used elsewhere", nodes["z"]["attention"])
        self.assertNotIn("attention", nodes["s"])
        attention = {node["name"]: node for node in self.show("layers.json")["nodes"][0]["nodes"]}["att"]
        self.assertIn("fused", attention["attention"])
        self.assertIn("Lq*Lk", attention["attention"])
        self.assertEqual([output["name"] for output in attention["outputs"]], ["att", "att.probs"])

    def test_every_example_is_shown(self):
        for path in EXAMPLES.glob("*.json"):
            self.assertIn("total: ", self.run_it("show", path)[0])

    def test_mistakes_are_those_of_validate(self):
        self.write("broken.json", {**LAYERS, "outputs": {"y": "twcie"}})
        self.assertEqual(self.run_it("show", "broken.json", status=2), self.run_it("validate", "broken.json", status=2))

    def test_weights_are_not_read_but_for_their_header(self):
        header = {f"layers.{i}.{name}": {"dtype": "F32", "shape": [64, extent], "data_offsets": []}
                  for i in range(12) for name, extent in [("w_qkv", 192), ("w_out", 64)]}
        offset = 0
        for entry in header.values():
            entry["data_offsets"] = [offset, offset + 4 * 64 * entry["shape"][1]]
            offset = entry["data_offsets"][1]
        text = json.dumps(header).encode()
        with open(self.folder / "w.safetensors", "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + offset)
        self.write("with.json", {**LAYERS, "weights": "w.safetensors"})
        self.assertEqual(self.show("with.json")["total"]["parameters"], 12 * 64 * 256)
        # Nothing may stand behind the last tensor: sizes are checked.
        os.truncate(self.folder / "w.safetensors", 9 + len(text) + offset)
        self.assertIn("exactly", self.run_it("show", "with.json", status=2)[1])

    # ---- pictures

    def test_repeated_blocks_are_one_box(self):
        self.run_it("show", "layers.json", "--dot", "m.dot", "--svg", "m.svg")
        dot = (self.folder / "m.dot").read_text(encoding="utf-8")
        self.assertEqual(dot.count("subgraph cluster_"), 1)
        self.assertEqual(dot.count("<b>qkv: matmul</b>"), 1)
        self.assertIn("× 12", dot)
        svg = xml.etree.ElementTree.parse(self.folder / "m.svg").getroot()
        texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("layers & <more>", texts)
        self.assertIn("× 12", " ".join(text for text in texts if text))
        self.assertLess(float(svg.get("height").rstrip("pt")), 2000)

    def test_names_in_a_picture_start_no_program(self):
        self.write("m.json", {**COMPOSED, "name": "\"; $(touch bad) `touch bad` <b> \\", "doc": "x"})
        self.run_it("show", "m.json", "--svg", "$(touch bad).svg")
        self.assertTrue((self.folder / "$(touch bad).svg").exists())
        self.assertFalse((self.folder / "bad").exists())

    def test_without_graphviz_the_error_says_what_to_do(self):
        error = self.run_it("show", "layers.json", "--svg", "m.svg", status=2, env={"PATH": "/nowhere"})[1]
        self.assertIn("install graphviz, or write --dot FILE", error)
        self.assertFalse((self.folder / "m.svg").exists())

    def test_a_picture_that_cannot_be_written(self):
        output, error = self.run_it("show", "layers.json", "--json", "--dot", "none/m.dot", status=2)
        self.assertEqual(output, "")
        self.assertIn("none/m.dot: cannot be written", error)

    # ---- --json everywhere, and nothing printed or written by what fails

    def test_every_command_has_json(self):
        for words in [["run", "composed.json"], ["grad", "composed.json", "--cotangents", "ones"], ["gradcheck", "composed.json"],
                      ["validate", "composed.json"], ["show", "composed.json"], ["ops"], ["ops", "softmax"], ["schema"],
                      ["gradcheck", "--ops", "neg"]]:
            with self.subTest(words=words):
                json.loads(self.run_it(*words, "--json")[0])

    def test_with_json_mistakes_are_json_too(self):
        (self.folder / "text.json").write_text("# no model")
        for words in [["run", "text.json"], ["grad", "composed.json", "--of", "nothing"], ["gradcheck", "none.json"],
                      ["validate", "text.json"], ["validate", "composed.json", "--weights", "none.npz"], ["show", "none.json"],
                      ["ops", "sotfmax"], ["gradcheck", "--ops", "sotfmax"], ["run", "composed.json", "--values", "y,y"]]:
            with self.subTest(words=words):
                output, error = self.run_it(*words, "--json", status=2)
                report = json.loads(output)
                self.assertEqual(report.get("valid"), False if words[0] == "validate" else None)
                for mistake in report["errors"]:
                    self.assertEqual(sorted(mistake), ["op", "place", "text"])
                    self.assertIn(mistake["text"], error)

    def test_a_report_that_cannot_be_written_leaves_no_other(self):
        before = sorted(self.folder.iterdir())
        output, error = self.run_it("gradcheck", "composed.json", "--report", "r.json", "--junit", "none/j.xml", status=2)
        self.assertEqual(output, "")
        self.assertIn("none/j.xml: cannot be written", error)
        self.assertEqual(sorted(self.folder.iterdir()), before)

    def test_a_picture_says_which_output_is_used(self):
        (self.folder / "probs.json").write_text(json.dumps({
            "fovea": 1, "inputs": {name: {"shape": [2, 3]} for name in "qkv"},
            "nodes": [{"name": "att", "op": "attention", "inputs": ["q", "k", "v"]},
                      {"name": "p", "op": "mul", "inputs": ["att.probs", 0.5]}], "outputs": ["att", "p"]}))
        self.run_it("show", "probs.json", "--dot", "m.dot")
        dot = (self.folder / "m.dot").read_text(encoding="utf-8")
        self.assertEqual(dot.count('[label="probs"]'), 1)
        self.assertIn(">0.5<", dot)

    def test_nothing_is_printed_when_the_results_cannot_be_written(self):
        for name in ["none/out.npz", "none/out.json", "none/out.safetensors"]:
            with self.subTest(name=name):
                output, error = self.run_it("run", "composed.json", "--json", "--outputs", name, status=2)
                self.assertEqual(output, "")
                self.assertIn("cannot be written", error)

    def test_nothing_is_written_when_the_results_cannot_be_printed(self):
        before = sorted(self.folder.iterdir())
        for name in ["out.npz", "out.json", "out.safetensors"]:
            with open("/dev/full", "wb") as full:
                error = self.run_it("run", "composed.json", "--json", "--outputs", name, status=2, stdout=full)[1]
            self.assertIn("cannot be printed", error)
        with open("/dev/full", "wb") as full:
            self.run_it("show", "composed.json", "--json", "--dot", "m.dot", status=2, stdout=full)
        self.assertEqual(sorted(self.folder.iterdir()), before)


if __name__ == "__main__":
    sys.exit(unittest.main())
