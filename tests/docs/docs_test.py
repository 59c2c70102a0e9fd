"""The pages that come from the registry and the schema are what the generator writes now."""
import pathlib
import subprocess
import sys
import unittest

from docs import generate


class Pages(unittest.TestCase):
    def test_they_are_current(self):
        for path, text in generate.pages(pathlib.Path.cwd()).items():
            with self.subTest(path=path):
                page = pathlib.Path(path)
                written = page.read_text(encoding="utf-8") if page.exists() else ""
                self.assertEqual(written.splitlines(), text.splitlines(),
                                 f"{path} is out of date; write it anew with: bazel run //docs:generate")

    def test_the_example_runs(self):
        subprocess.run(["cli/fovea", "run", "docs/example.json", "--quiet"], check=True)

    def test_every_op_of_the_page_is_there(self):
        names = subprocess.run(["cli/fovea", "ops"], stdout=subprocess.PIPE, check=True).stdout.decode().split("\n")
        page = pathlib.Path("docs/ops.md").read_text(encoding="utf-8")
        for name in (line.split()[0] for line in names if line):
            self.assertIn(f"\n## {name}\n", page)


if __name__ == "__main__":
    sys.exit(unittest.main())
