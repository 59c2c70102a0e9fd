"""Each installed header compiles on its own, with warnings as errors."""
import concurrent.futures
import pathlib
import subprocess
import sys
import tempfile
import unittest

WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror"]


class Headers(unittest.TestCase):
    def test_each_compiles_on_its_own(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["tools/installation", "--prefix", folder], check=True, stdout=subprocess.DEVNULL)
            include = pathlib.Path(folder, "include")
            headers = sorted(include.rglob("*.h"))
            self.assertGreater(len(headers), 30)

            def compiled(header):
                return header, subprocess.run(
                    ["g++", "-std=c++20", "-fsyntax-only", *WARNINGS, "-I", include, "-include", header, "-x", "c++", "-"],
                    input="", text=True, capture_output=True, check=False)

            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                for header, result in pool.map(compiled, headers):
                    with self.subTest(header=str(header.relative_to(include))):
                        self.assertEqual(result.returncode, 0, result.stderr)


if __name__ == "__main__":
    sys.exit(unittest.main())
