"""Runs the report on a few rows and reads what it writes. What it measures is not judged: machines differ, and are busy."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

REPORT = pathlib.Path(__file__).absolute().parent / "report"
KEYS = ["what", "dtype", "isa", "threads", "batch", "heads", "kv_heads", "lq", "lk", "d", "causal", "mask", "ms", "gflops", "peak_gflops",
        "fraction"]


def run(*arguments):
    return subprocess.run([REPORT, *arguments], capture_output=True, text=True, check=False)


def rows(only):
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as folder:
        file = pathlib.Path(folder) / "rows.json"
        done = run("--json", file, "--only", only, "--seconds", "0.1")
        assert done.returncode == 0, done.stderr
        return json.loads(file.read_text(encoding="utf-8")), done.stdout.splitlines()


class Report(unittest.TestCase):
    def test_attention(self):
        found, lines = rows("forward f32 batch=1 heads=8 lq=128 d=64 causal")
        self.assertEqual(len(found), len(lines))
        self.assertGreaterEqual(len(found), 1)
        for row in found:
            self.assertEqual(list(row)[:len(KEYS)], KEYS)
            self.assertEqual([row[key] for key in ("what", "dtype", "batch", "heads", "kv_heads", "lq", "lk", "d", "causal", "mask")],
                             ["forward", "f32", 1, 8, 8, 128, 128, 64, True, None])
            operations = 4 * 8 * 128 * 128 * 64 / 2
            self.assertAlmostEqual(row["gflops"] * row["ms"] * 1e6 / operations, 1)
            self.assertAlmostEqual(row["gflops"] / row["peak_gflops"], row["fraction"])
            self.assertGreater(row["extra_kib_per_thread"], 0)
            self.assertEqual((row["beside"], row["over_beside"]), (None, None))

    def test_each_instruction_set_and_all_threads(self):
        found, _ = rows("forward f32 batch=1 heads=8 lq=512 d=64")
        self.assertIn(("scalar", 1), {(row["isa"], row["threads"]) for row in found})
        if len(os.sched_getaffinity(0)) > 1 and os.environ.get("FOVEA_THREADS") != "1":
            self.assertTrue(any(row["threads"] > 1 for row in found))

    def test_other_yardsticks(self):
        found, _ = rows("softmax f32 m=64")
        for row in found:
            self.assertEqual((row["unit"], row["yardstick"], row["gflops"]), ("Gelem/s", "copy", None))
            self.assertAlmostEqual(row["rate"] / row["yardstick_rate"], row["fraction"])

    def test_overheads_stand_beside_a_call_or_a_fork_and_join(self):
        found, _ = rows("run f32")
        self.assertEqual({(row["threads"] > 1, row["yardstick"]) for row in found} - {(True, "fork and join")}, {(False, "empty call")})

    def test_parts_of_a_call(self):
        found, _ = rows("node f32")
        for row in found:
            self.assertAlmostEqual(row["rate"] * row["ms"] * 1e6, 1)

    def test_bad_usage(self):
        self.assertNotEqual(run("--seconds", "soon").returncode, 0)
        done = run("--json", "/nowhere/rows.json", "--only", "no such case")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(done.stderr, "/nowhere/rows.json: cannot be written\n")


if __name__ == "__main__":
    sys.exit(unittest.main())
