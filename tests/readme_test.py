"""The README's C++ is the C++ of readme_test.cc, and the paths that it names exist."""
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).absolute().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


class Readme(unittest.TestCase):
    def test_every_line_of_cpp_is_compiled(self):
        compiled = (ROOT / "tests/readme_test.cc").read_text(encoding="utf-8").splitlines()
        blocks = re.findall(r"```cpp\n(.*?)```", README, re.DOTALL)
        self.assertTrue(blocks)
        for line in "".join(blocks).splitlines():
            with self.subTest(line=line):
                self.assertIn(line, compiled)

    def test_links_lead_somewhere(self):
        for target in re.findall(r"\]\(([^)#]+)\)", README):
            with self.subTest(target=target):
                self.assertTrue((ROOT / target).exists())


if __name__ == "__main__":
    sys.exit(unittest.main())
