"""The wheel: complete, consistent, and usable where only it, Python and NumPy are, as the README says."""
import base64
import csv
import email
import hashlib
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import tempfile
import unittest
import zipfile

[WHEEL] = pathlib.Path("python/wheel").glob("*.whl")

README = pathlib.Path("README.md").read_text(encoding="utf-8")
BEFORE = """
import pathlib
import numpy
maps = pathlib.Path("/proc/self/maps")
before = maps.read_text(encoding="utf-8")
"""
# After the README's own lines: their results, and the worked examples to more digits than are printed.
AFTER = """
s = 0.125 * q.astype("f8") @ k.astype("f8").swapaxes(-1, -2)
p = np.exp(s) * np.tri(512)
total = p.sum(-1, keepdims=True)
p /= total
assert abs(lse - np.log(total)[..., 0]).max() < 1e-5
assert abs(y - p @ v).max() < 1e-5
assert abs(dv - p.swapaxes(-1, -2).sum(-1, keepdims=True)).max() < 1e-4
ds = p * (v.sum(-1)[..., None, :] - (p @ v).sum(-1, keepdims=True))
assert abs(dq - 0.125 * ds @ k).max() < 1e-4
assert abs(dk - 0.125 * ds.swapaxes(-1, -2) @ q).max() < 1e-4

y = fovea.scaled_dot_product_attention(
    [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], [[0.7, 0.8, 0.9], [0.2, 0.3, 0.4]], [[0.5, 0.6, 0.7], [0.1, 0.2, 0.3]])
assert abs(y - [[0.317277336, 0.417277336, 0.517277336], [0.342637138, 0.442637138, 0.542637138]]).max() < 1e-8, y
y = fovea.scaled_dot_product_attention([[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]])
assert abs(y - [[10.971667928, 11.971667928], [10.999899605, 11.999899605]]).max() < 1e-8, y

libraries = list((pathlib.Path(fovea.__file__).parent.parent / "fovea.libs").iterdir())
assert libraries
for library in libraries:                                  # its own, not the system's
    assert library.name in before or str(library) in maps.read_text(encoding="utf-8"), library
print("done")
"""


def readme_code():
    """The README's lines of Python that use the module."""
    blocks = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "import fovea" in block]
    assert blocks
    return "".join(blocks)


def readme_output():
    """What they print, as the README's comments show it."""
    return "".join(line[2:] + "\n" for line in readme_code().splitlines() if line.startswith("# "))


def sanitized(archive):
    return b"libasan.so" in archive.read("fovea/_core.so")


class Wheel(unittest.TestCase):
    def setUp(self):
        self.archive = zipfile.ZipFile(WHEEL)
        self.addCleanup(self.archive.close)
        self.info = "-".join(WHEEL.name.split("-")[:2]) + ".dist-info"
        if sanitized(self.archive):
            self.skipTest("a sanitized module is not for wheels")

    def text(self, name):
        return self.archive.read(f"{self.info}/{name}").decode()

    def test_record(self):
        rows = {name: (digest, size) for name, digest, size in csv.reader(self.text("RECORD").splitlines())}
        self.assertEqual(sorted(rows), sorted(self.archive.namelist()))
        self.assertEqual(rows.pop(f"{self.info}/RECORD"), ("", ""))
        for name, (digest, size) in rows.items():
            data = self.archive.read(name)
            sha = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            self.assertEqual((digest, size), (f"sha256={sha}", str(len(data))), name)

    def test_metadata(self):
        metadata = email.message_from_string(self.text("METADATA"))
        self.assertEqual((metadata["Name"], metadata["License"]), ("fovea", "MIT"))
        self.assertEqual(metadata["Version"], WHEEL.name.split("-")[1])
        self.assertIn("numpy", metadata["Requires-Dist"])
        self.assertIn("MIT License", self.text("licenses/LICENSE"))
        self.assertEqual(email.message_from_string(self.text("WHEEL"))["Tag"], "-".join(WHEEL.stem.split("-")[2:]))
        for name in ("py.typed", "__init__.py", "_core.so"):
            self.assertIn(f"fovea/{name}", self.archive.namelist())

    def test_tag_is_honest(self):
        python, abi, platform = WHEEL.stem.split("-")[2:]
        self.assertEqual(python, abi)
        self.assertEqual(python, "cp" + sysconfig.get_config_var("py_version_nodot"))
        promised = tuple(map(int, platform.split("_")[1:3]))
        with tempfile.TemporaryDirectory() as folder:
            for name in self.archive.namelist():
                if name.endswith(".so") or name.startswith("fovea.libs/"):
                    symbols = subprocess.run(["objdump", "-T", self.archive.extract(name, folder)], check=True,
                                             capture_output=True, text=True).stdout
                    for word in symbols.replace("(", " ").replace(")", " ").split():
                        if word.startswith("GLIBC_") and word[6].isdigit():
                            self.assertLessEqual(tuple(map(int, word[6:].split(".")))[:2], promised, name)

    def run_it(self, python, path=None):
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "LD_LIBRARY_PATH")}
        if path:
            environment["PYTHONPATH"] = path
        done = subprocess.run([python, "-c", BEFORE + readme_code() + AFTER], env=environment, capture_output=True, text=True, check=False, cwd="/")
        self.assertEqual((done.returncode, done.stdout), (0, readme_output() + "done\n"), done.stderr)

    def test_works_unpacked(self):
        with tempfile.TemporaryDirectory() as folder:
            self.archive.extractall(folder)
            self.run_it(sys.executable, folder)

    def test_installs(self):
        if not importlib.util.find_spec("ensurepip"):
            self.skipTest("this Python makes no virtual environments with pip")
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", folder], check=True)
            python = f"{folder}/bin/python"
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(WHEEL.resolve())], check=True)
            self.run_it(python)


if __name__ == "__main__":
    unittest.main()
