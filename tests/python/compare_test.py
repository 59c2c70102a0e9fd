"""bench/compare.py with what is here (NumPy at least), on small cases; python -m fovea.bench."""
import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import unittest
from unittest import mock

from support import fovea, np

sys.path.insert(0, str(pathlib.Path("bench").absolute()))

import compare  # noqa: E402
import compare_cases  # noqa: E402
import compare_peers  # noqa: E402
import compare_report  # noqa: E402
from fovea import bench  # noqa: E402

SMALL = [
    compare_cases.Case(1, 2, 8, 8, 4), compare_cases.Case(1, 4, 8, 8, 4, kv_heads=2, causal=True, backward=True),
    compare_cases.Case(2, 2, 9, 9, 4, causal=True, window=2), compare_cases.Case(1, 2, 8, 8, 4, mask=True),
    compare_cases.Case(1, 2, 8, 8, 4, bias=True),
    compare_cases.Case(1, 2, 1, 40, 8), compare_cases.Case(1, 2, 8, 8, 4, dtype="f64", backward=True),
]


class Compare(unittest.TestCase):
    def setUp(self):
        self.settle = bench.settle                          # waits long where much is going on
        patch = mock.patch.object(bench, "settle")
        patch.start()
        self.addCleanup(patch.stop)

    def report(self):
        with mock.patch.object(compare_cases, "cases", lambda: SMALL), mock.patch.object(os, "sched_setaffinity"), \
                contextlib.redirect_stderr(io.StringIO()):
            configuration = compare.measure(1, compare_report.BEST, False, 0.01)
        return {"date": "2000-01-01", "cpu": "some CPU", "cpus": 2, "configurations": [configuration]}

    def test_every_result_is_right_and_timed(self):
        report = self.report()
        [configuration] = report["configurations"]
        for entry in configuration["results"]:
            with self.subTest(entry["peer"], case=entry["case"]):
                if (entry["peer"], entry["dtype"]) == ("JAX", "f64"):
                    continue                                # its scores are f32 in any dtype
                self.assertIsNone(entry.get("wrong"))
                self.assertTrue("seconds" in entry or "lacks" in entry, entry)
        ours = [entry for entry in configuration["results"] if entry["peer"] == "Fovea"]
        self.assertEqual(len(ours), len(SMALL))
        self.assertTrue(all(entry["ratio"] == 1 and entry["percent"] > 0 for entry in ours))
        text = compare_report.section(report, "chart.svg")
        for part in ("some CPU", "2000-01-01", "`(1, 2, 8, 4)`", "NumPy", "chart.svg"):
            self.assertIn(part, text)
        for part in ("| NumPy |", "MiB", "no gradients"):
            self.assertIn(part, compare_report.full_table(configuration))
        self.assertEqual(list(configuration["peak_gflops"]), ["f32", "f64"])
        json.dumps(report)

    def test_wrong_results_are_reported_and_not_timed(self):
        class Wrong(compare_peers.NumPy):
            name = "Wrong"

            def prepare(self, case, threads):
                call, read = super().prepare(case, threads)
                return call, lambda y: [read(y)[0] * np.float32(1.001)]
        entries, _ = compare.measure_case(SMALL[0], [compare_peers.Fovea(), Wrong()], 1, 0.01)
        self.assertIn("off by", entries[1]["wrong"])
        self.assertNotIn("seconds", entries[1])

    def test_readme_section(self):
        with tempfile.TemporaryDirectory() as folder:
            readme = pathlib.Path(folder, "README.md")
            readme.write_text("a\n<!-- performance: bench/compare.py -->\nold\n<!-- end of performance -->\nb\n", encoding="utf-8")
            compare_report.write_section(readme, "new")
            self.assertEqual(readme.read_text(encoding="utf-8"),
                             "a\n<!-- performance: bench/compare.py -->\nnew\n<!-- end of performance -->\nb\n")

    def test_settling_waits_for_threads(self):
        q = np.zeros((1, 4000, 64), np.float32)
        other = threading.Thread(target=lambda: fovea.scaled_dot_product_attention(q, q, q, threads=1))
        other.start()
        with mock.patch.object(bench.time, "sleep", side_effect=lambda _: other.join(0.01)) as slept:
            while other.is_alive() and not slept.called:
                self.settle()
        self.assertTrue(slept.called)
        other.join()

    def test_bench(self):
        printed = io.StringIO()
        with mock.patch.object(bench, "SHAPES", [((1, 16, 64), False), ((2, 32, 16), True)]), \
                mock.patch.object(bench, "prepare"), contextlib.redirect_stdout(printed), \
                mock.patch.object(sys, "argv", ["bench", "--seconds", "0.1", "--threads", "1"]):
            bench.main()
        self.assertIn("| (2, 32, 16) causal", printed.getvalue())
        done = subprocess.run([sys.executable, "-m", "fovea.bench", "--help"], capture_output=True,
                              env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)), text=True, check=False)
        self.assertIn("python -m fovea.bench", done.stdout)


if __name__ == "__main__":
    unittest.main()
