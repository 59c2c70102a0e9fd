"""Drives the fovea command: results, files, exit statuses, and what it says about mistakes."""
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import unittest

FOVEA = pathlib.Path("cli/fovea").absolute()
EXAMPLES = pathlib.Path("examples").absolute()

LINEAR = {
    "fovea": 1,
    "dims": {"rows": None, "width": 2},
    "inputs": {"x": {"shape": ["rows", "width"]}, "ids": {"shape": [2], "dtype": "i64"}},
    "params": {"w": {"shape": ["width", 3], "init": {"normal": {}}}},
    "nodes": [
        {"name": "y", "op": "matmul", "inputs": ["x", "w"]},
        {"name": "loss", "op": "mean", "inputs": ["sq"]},
        {"name": "sq", "op": "square", "inputs": ["y"]},
    ],
    "outputs": {"y": "y", "loss": "loss", "ids": "ids"},
}


class Command(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.write("m.json", LINEAR)

    def write(self, name, content):
        text = content if isinstance(content, str) else json.dumps(content)
        (self.folder / name).write_text(text, encoding="utf-8")

    def read(self, name):
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def run_it(self, *words, status=0, **options):
        done = subprocess.run([FOVEA, *words], cwd=self.folder, stdin=subprocess.DEVNULL, check=False,
                              stdout=options.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE,
                              timeout=60, **options)
        done.stdout = (done.stdout or b"").decode()
        done.stderr = done.stderr.decode()
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def refuse(self, *words, says, **options):
        """Status 2, one message with these parts, nothing printed, no file made."""
        before = sorted(self.folder.iterdir())
        done = self.run_it(*words, status=2, **options)
        for part in [says] if isinstance(says, str) else says:
            self.assertIn(part, done.stderr)
        self.assertLessEqual(len(done.stderr.encode()), 4096 + 128)
        self.assertEqual(done.stdout, "")
        self.assertEqual(sorted(self.folder.iterdir()), before)
        return done

    # ---- run

    def test_run_prints_results_and_says_what_was_drawn(self):
        done = self.run_it("run", EXAMPLES / "attention.json")
        self.assertIn("y f32 (batch=1, length=4, 2)\n[[[10. 10.]", done.stdout)
        self.assertEqual(done.stderr, "")
        done = self.run_it("run", "m.json", "--dim", "rows=2")
        self.assertIn("drawn", done.stderr)
        self.assertIn("x f32 (rows=2, width=2), ids i64 (2,)", done.stderr)
        done = self.run_it("run", "m.json", "--dim", "rows=2", "--quiet")
        self.assertEqual(done.stdout + done.stderr, "")

    def test_files_go_in_and_out(self):
        self.write("x.json", {"x": [[1, 2], [3, 4], [5, 6]], "ids": [7, 8]})
        self.write("w.json", {"w": [[1, 0, 1], [0, 1, 1]]})
        self.run_it("run", "m.json", "--inputs", "x.json", "--weights", "w.json", "--outputs", "out.json")
        out = self.read("out.json")
        self.assertEqual(out["y"], {"dtype": "f32", "shape": [3, 3],
                                    "value": [[1, 2, 3], [3, 4, 7], [5, 6, 11]]})
        self.assertEqual(out["ids"], {"dtype": "i64", "shape": [2], "value": [7, 8]})
        self.run_it("run", "m.json", "--inputs", "x.json", "--weights", "w.json", "--outputs", "out.npz")
        self.run_it("run", "m.json", "--inputs", "x.json", "--weights", "w.json", "--expect", "out.npz")
        self.run_it("run", "m.json", "--inputs", "x.json", "--weights", "w.json", "--dtype", "f64",
                    "--outputs", "out.safetensors")
        done = self.run_it("run", "m.json", "--inputs", "x.json", "--weights", "w.json", "--json")
        self.assertEqual(json.loads(done.stdout), out)

    def test_values_inside_the_model(self):
        self.write("x.json", {"x": [[1, 2]]})
        done = self.run_it("run", "m.json", "--inputs", "x.json", "--values", "x,sq.y", "--json")
        self.assertEqual(list(json.loads(done.stdout)), ["sq.y", "x"])
        self.refuse("run", "m.json", "--inputs", "x.json", "--values", "x,sqq", says=["--values", '"sqq"', '"sq"'])

    def test_expect(self):
        self.write("x.json", {"x": [[1, 2], [3, 4]], "ids": [7, 8]})
        self.write("w.json", {"w": [[1, 0, 1], [0, 1, 1]]})
        words = ["run", "m.json", "--inputs", "x.json", "--weights", "w.json", "--expect", "e.json"]
        self.write("e.json", {"y": [[1, 2, 3], [3, 4, 7]]})
        self.run_it(*words)
        self.write("e.json", {"y": [[1, 2, 3], [3, 4.5, 6]]})
        done = self.run_it(*words, status=1)
        self.assertIn("y: worst at [1, 2]: 7 computed, 6 expected", done.stderr)
        self.run_it(*words, "--rtol", "0.2")
        self.run_it(*words, "--atol", "1")
        self.write("e.json", {"y": [[1, 2, 3], [3, 4, 7]]})
        self.assertIn("as expected: y; not in e.json: loss, ids", self.run_it(*words).stderr)
        # What cannot be compared is bad input, found before anything is computed.
        self.write("e.json", {"y": [[1, 2, 3]]})
        self.refuse(*words, says='e.json: "y" is f32 (1, 3); the result is f32 (rows=2, 3)')
        self.write("e.json", {"ids": {"value": [7.0, 8.0], "dtype": "f32"}})
        self.refuse(*words, says='e.json: "ids" is f32 (2,); the result is i64 (2,)')
        self.write("e.json", {"ids": {"value": [True, True], "dtype": "bool"}})
        self.refuse(*words, says='e.json: "ids" is bool (2,); the result is i64 (2,)')
        self.write("e.json", {"yy": [[1, 2, 3]]})
        self.refuse(*words, says=['"yy"', 'did you mean "y"?'])

    def test_seed_and_dtype(self):
        values = lambda *words: self.run_it("run", "m.json", "--dim", "rows=2", *words).stdout
        self.assertEqual(values(), values("--seed", "0"))
        self.assertNotEqual(values(), values("--seed", "1"))
        self.assertIn("y f64", values("--dtype", "f64"))
        self.assertEqual(values("--threads", "1"), values("--threads", "3"))

    # ---- grad

    def test_grad(self):
        self.write("x.json", {"x": [[1, 2]]})
        self.write("w.json", {"w": [[1, 0, 1], [0, 1, 1]]})
        files = ["--inputs", "x.json", "--weights", "w.json"]
        done = self.run_it("grad", "m.json", *files, "--of", "loss", "--json")
        got = json.loads(done.stdout)
        # loss = Σ y²/3 with y = (1, 2, 3), so dw = xᵀ 2y/3.
        self.assertEqual(list(got), ["w", "x"])
        for row, x in zip(got["w"]["value"], [1, 2]):
            for value, y in zip(row, [1, 2, 3]):
                self.assertAlmostEqual(value, 2 * x * y / 3, places=5)
        done = self.run_it("grad", "m.json", *files, "--of", "y", "--cotangents", "ones", "--wrt", "x", "--json")
        self.assertEqual(json.loads(done.stdout)["x"]["value"], [[2, 2]])
        self.write("c.json", {"y": [[1, 0, 2]]})
        done = self.run_it("grad", "m.json", *files, "--cotangents", "c.json", "--wrt", "x", "--json")
        self.assertEqual(json.loads(done.stdout)["x"]["value"], [[3, 2]])
        one = self.run_it("grad", "m.json", *files, "--cotangents", "random", "--json").stdout
        self.assertEqual(one, self.run_it("grad", "m.json", *files, "--cotangents", "random", "--json").stdout)

    def test_grad_of_what_nothing_depends_on_is_zero(self):
        self.write("m.json", {"fovea": 1, "inputs": {"a": {"shape": []}, "b": {"shape": [2]}},
                              "nodes": [{"name": "y", "op": "exp", "inputs": ["a"]}],
                              "outputs": {"y": "y", "b": "b"}})
        done = self.run_it("grad", "m.json", "--of", "y", "--json")
        self.assertEqual(json.loads(done.stdout)["b"]["value"], [0, 0])

    def test_grad_refuses(self):
        dim = ["--dim", "rows=2"]
        self.refuse("grad", "m.json", *dim, says="fovea grad m.json --of loss")
        self.refuse("grad", "m.json", *dim, "--of", "y", says="fovea grad m.json --of y --cotangents ones")
        self.refuse("grad", "m.json", *dim, "--of", "los", says=["--of", '"los"', 'did you mean "loss"?'])
        self.refuse("grad", "m.json", *dim, "--of", "ids", says='"ids" is i64')
        self.refuse("grad", "m.json", *dim, "--of", "loss", "--wrt", "w,v", says=["--wrt", '"v"'])
        self.refuse("grad", "m.json", *dim, "--of", "loss", "--wrt", "ids", says='"ids" is i64')
        self.write("c.json", {"y": [1, 2]})
        self.refuse("grad", "m.json", *dim, "--cotangents", "c.json", says=["c.json", "(2,)", "(rows=2, 3)"])
        self.refuse("grad", "m.json", *dim, "--cotangents", "one", says="one")

    # ---- the other commands

    def test_validate(self):
        self.assertEqual(self.run_it("validate", "m.json").stdout, "m.json: valid\n")
        for command in ["validate", "show"]:  # common options are common
            self.run_it(command, "m.json", "--threads", "1", "--seed", "3", "--max-memory", "1G", "--quiet")
        self.assertEqual(json.loads(self.run_it("validate", "m.json", "--json").stdout),
                         {"valid": True, "errors": []})
        self.write("bad.json", json.dumps(LINEAR).replace("matmul", "matmull"))
        self.refuse("validate", "bad.json", says='unknown op "matmull"; did you mean "matmul"?')
        report = json.loads(self.run_it("validate", "bad.json", "--json", status=2).stdout)
        self.assertFalse(report["valid"])
        self.assertIn("/nodes/0/op", report["errors"][0]["place"])

    def test_gradcheck(self):
        self.assertIn("pass", self.run_it("gradcheck", EXAMPLES / "worked_1.json").stdout)
        self.run_it("gradcheck", "--ops", "tanh,softmax")
        self.write("flat.json", {"fovea": 1, "inputs": {"x": {"shape": [2]}},
                                 "nodes": [{"name": "y", "op": "scale", "inputs": ["x"], "attrs": {"factor": 0}}],
                                 "outputs": ["y"]})
        self.assertIn("vacuous", self.run_it("gradcheck", "flat.json", status=1).stdout)
        report = json.loads(self.run_it("gradcheck", EXAMPLES / "worked_2.json", "--json").stdout)
        self.assertEqual(report["verdict"], "pass")
        self.refuse("gradcheck", says="MODEL is missing")
        self.refuse("gradcheck", "m.json", "--ops", says="both --ops and the model")
        self.refuse("gradcheck", "--ops", "sotfmax", says='did you mean "softmax"?')

    def test_ops(self):
        self.assertIn("softmax", self.run_it("ops").stdout)
        text = self.run_it("ops", "softmax").stdout
        self.assertIn("softmax(x) -> y", text)
        self.assertIn("axis: integer, default -1", text)
        self.assertEqual(json.loads(self.run_it("ops", "softmax", "--json").stdout)["attributes"][0]["default"], -1)
        self.assertGreater(len(json.loads(self.run_it("ops", "--json").stdout)), 40)
        self.refuse("ops", "sotfmax", says='did you mean "softmax"?')

    def test_help_shows_an_example(self):
        for command in ["run", "grad", "gradcheck", "validate", "ops"]:
            self.assertIn(f"Example:\n  fovea {command}", self.run_it(command, "--help").stdout)
        self.assertIn("fovea run", self.run_it("--help").stdout)
        self.assertRegex(self.run_it("--version").stdout, r"^fovea \d")
        self.assertRegex(self.run_it("run", "--version").stdout, r"^fovea \d")

    # ---- usage

    def test_bad_usage_is_one_line_that_names_the_word(self):
        for words, says in [
                ([], "command is missing"),
                (["rum"], ['"rum"', 'did you mean "run"?']),
                (["--quiet"], '"--quiet"'),
                (["run"], "MODEL"),
                (["run", "m.json", "other.json"], '"other.json"'),
                (["run", "m.json", "--outptus", "y.npz"], ['"--outptus"', 'did you mean "--outputs"?']),
                (["run", "m.json", "--inputs"], "--inputs"),
                (["run", "m.json", "--dim", "rows"], ['"rows"', "NAME=N"]),
                (["run", "m.json", "--dim", "rows=two"], '"rows=two"'),
                (["run", "m.json", "--dim", "rows=-1"], '"rows=-1"'),
                (["run", "m.json", "--dim", "rows=1", "--dim", "rows=2"], '"rows=2"'),
                (["run", "m.json", "--seed", "x"], '--seed "x"'),
                (["run", "m.json", "--seed", "99999999999999999999"], "--seed"),
                (["run", "m.json", "--threads", "0"], '--threads "0"'),
                (["run", "m.json", "--max-memory", "lots"], '--max-memory "lots"'),
                (["run", "m.json", "--max-memory", "1XB"], '--max-memory "1XB"'),
                (["run", "m.json", "--dtype", "f16"], '--dtype "f16"'),
                (["run", "m.json", "--rtol", "-1"], "--rtol"),
                (["run", "m.json", "--values", "a,,b"], "--values"),
                (["grad", "m.json", "--wrt", ""], "--wrt"),
                (["validate", "m.json", "--outputs", "y.npz"], '"--outputs"'),
                (["x" * 500 + "\x1b[31m"], "…"),
                (["run", "x\x1b[31m"], "x\\x1b[31m"),
        ]:
            with self.subTest(words=words):
                done = self.refuse(*words, says=says)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                self.assertLess(len(done.stderr), 700)
                self.assertNotIn("\x1b", done.stderr)

    def test_environment(self):
        environment = {**os.environ, "FOVEA_THREADS": "many"}
        self.refuse("run", EXAMPLES / "worked_1.json", says="FOVEA_THREADS", env=environment)

    # ---- files that cannot be used

    def test_files_that_cannot_be_read(self):
        dim = ["--dim", "rows=2"]
        self.refuse("run", "nothing.json", says="nothing.json")
        self.refuse("run", ".", says=".")
        self.refuse("run", "/dev/null", says="/dev/null")
        self.refuse("run", "m.json", *dim, "--inputs", "nothing.npz", says="nothing.npz")
        self.refuse("run", "m.json", *dim, "--inputs", "m.csv", says="m.csv")
        self.write("x.json", {"x": [[1, 2], [3]]})
        self.refuse("run", "m.json", "--inputs", "x.json", says="x.json:1:")
        self.write("x.json", {"xx": [[1, 2]]})
        self.refuse("run", "m.json", *dim, "--inputs", "x.json", says=['"xx"', 'did you mean "x"?'])
        self.write("x.json", {"x": [[1, 2, 3]]})
        self.refuse("run", "m.json", "--inputs", "x.json", "--dim", "width=2", says=["(1, 3)", "--dim width=2"])
        self.write("x.json", {"x": [[1, 2]], "ids": [0.5, 1]})
        self.refuse("run", "m.json", "--inputs", "x.json", says="x.json:1:")
        self.write("x.json", {"x": {"value": [[1, 2]], "dtype": "i64"}})
        self.refuse("run", "m.json", "--inputs", "x.json", says=["i64", "f32"])

    def test_files_that_cannot_be_written(self):
        run = ["run", EXAMPLES / "worked_1.json", "--outputs"]
        self.refuse(*run, "y.csv", says="y.csv")
        self.refuse(*run, "no/such/folder/y.npz", says="no/such/folder/y.npz")
        self.refuse(*run, ".", says=".")
        self.write("y.json", "precious")
        self.refuse("run", "bad.json", "--outputs", "y.json", says="bad.json")
        self.assertEqual((self.folder / "y.json").read_text(encoding="utf-8"), "precious")

    def test_stdout_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            done = self.run_it("run", EXAMPLES / "worked_1.json", status=2, stdout=full)
        self.assertIn("stdout", done.stderr)
        done = subprocess.run(f"'{FOVEA}' run '{EXAMPLES}/worked_1.json' >&-", shell=True, check=False,
                              stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"stdout", done.stderr)
        reader, writer = os.pipe()
        os.close(reader)
        done = self.run_it("run", EXAMPLES / "worked_1.json", status=2, stdout=writer)
        os.close(writer)
        self.assertIn("stdout", done.stderr)

    # ---- limits

    def test_a_limit_on_file_sizes_is_an_error_of_writing(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

        self.refuse("run", "m.json", "--dim", "rows=1", "--outputs", "y.npz", says="y.npz", preexec_fn=limit)

    def test_mistakes_about_files_come_alone(self):
        dim = ["--dim", "rows=1"]
        for words in (["--outputs", "y.txt"], ["--outputs", "none/y.npz"], ["--expect", "none.npz"]):
            done = self.refuse("run", "m.json", *dim, *words, says=words[1])
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_an_option_without_a_value_or_with_two(self):
        self.refuse("run", "m.json", "--seed", says="--seed: a value is missing; N is required")
        self.refuse("run", "m.json", "--seed", "1", "--seed", "2", says="--seed: given more than once")

    def test_many_mistakes_are_counted(self):
        nodes = [{"name": f"n{i}", "op": "nothing", "inputs": ["x"]} for i in range(50)]
        self.write("m.json", {"fovea": 1, "inputs": {"x": {"shape": [1]}}, "nodes": nodes, "outputs": ["n0"]})
        done = self.refuse("validate", "m.json", says="… and 30 more errors")
        self.assertEqual(done.stderr.count("unknown op"), 20)

    def test_huge_dims_are_refused_without_memory(self):
        dim = ["--dim", "rows=1000000000000"]
        self.refuse("run", "m.json", *dim, says="--max-memory")
        self.refuse("grad", "m.json", *dim, "--of", "y", "--cotangents", "ones", says="--max-memory")
        self.refuse("grad", "m.json", *dim, "--of", "y", "--cotangents", "random", says="--max-memory")
        self.refuse("gradcheck", "m.json", *dim, says="memory")
        self.run_it("validate", "m.json", *dim)
        self.refuse("run", "m.json", "--dim", "rows=1000", "--max-memory", "4K", says="--max-memory")
        self.refuse("run", "m.json", "--dim", "rows=9223372036854775807", says="63 bits")

    def test_a_chain_of_many_nodes(self):
        nodes = [{"name": f"n{i}", "op": "neg", "inputs": [f"n{i - 1}" if i else "x"]} for i in range(20000)]
        self.write("m.json", {"fovea": 1, "inputs": {"x": {"shape": [1], "value": [3]}}, "nodes": nodes[::-1],
                              "outputs": {"y": "n19999"}})
        self.assertIn("[3.]", self.run_it("run", "m.json").stdout)
        self.assertIn("[1.]", self.run_it("grad", "m.json").stdout)


if __name__ == "__main__":
    sys.exit(unittest.main())
