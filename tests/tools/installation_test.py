"""Installs Fovea, moves it, and builds programs against it with CMake and pkg-config, as somebody with another build does."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

FIND = """cmake_minimum_required(VERSION 3.16)
project(find LANGUAGES CXX)
find_package(Fovea {version} REQUIRED)
"""


def environment(prefix):
    """With the sanitizers that the library was built with."""
    sanitized = b"__asan_init" in (prefix / "lib/libfovea.a").read_bytes()
    flags = "-fsanitize=address,undefined" if sanitized else ""
    return {**os.environ, "CXX": "g++", "CXXFLAGS": flags, "LDFLAGS": flags,
            "PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig")}


class Installation(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        subprocess.run(["tools/installation", "--prefix", cls.folder / "first"], check=True, stdout=subprocess.DEVNULL)
        cls.prefix = (cls.folder / "first").rename(cls.folder / "moved here")
        cls.environment = environment(cls.prefix)
        # Not as links out of the folder, which weights must not be.
        cls.examples = pathlib.Path(shutil.copytree("examples", cls.folder / "examples"))

    def run_it(self, *words, status=0):
        done = subprocess.run(words, cwd=self.folder, env=self.environment, check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    def test_the_command(self):
        self.assertRegex(self.run_it(self.prefix / "bin/fovea", "--version"), r"^fovea \d+\.\d+\.\d+\n$")
        self.assertIn("10.97166", self.run_it(self.prefix / "bin/fovea", "run", self.examples / "worked_2.json"))

    def test_licences(self):
        for name, part in (("LICENSE", "MIT"), ("third_party.txt", "xsimd")):
            self.assertIn(part, (self.prefix / "share/licenses/fovea" / name).read_text(encoding="utf-8"))

    def test_the_library_holds_every_instruction_set(self):
        members = subprocess.run(["ar", "t", self.prefix / "lib/libfovea.a"], check=True, text=True, capture_output=True)
        self.assertGreaterEqual(members.stdout.split().count("gemm.isa.o"), 4)

    def test_cmake(self):
        self.run_it("cmake", "-S", self.examples, "-B", "build", f"-DCMAKE_PREFIX_PATH={self.prefix}")
        self.run_it("cmake", "--build", "build", "--target", "custom_op", "encoder", "gradcheck_main")
        self.assertIn("0 failures", self.run_it("build/custom_op"))
        self.assertIn("slope where x is not positive", self.run_it("build/custom_op", "ops", "leaky_relu"))
        self.assertIn("softsign", self.run_it("build/gradcheck_main"))
        self.run_it("build/from_pytorch/encoder", self.examples / "from_pytorch")

    def test_cmake_asks_for_versions(self):
        version = self.run_it(self.prefix / "bin/fovea", "--version").split()[1]
        major, minor, patch = map(int, version.split("."))
        for asked, status in ((f"{major}.{minor}", 0), (f"{version} EXACT", 0), (f"{major}.{minor}.{patch + 1}", 1),
                              (f"{major}.{minor + 1}", 1), (f"{major + 1}.0", 1)):
            with self.subTest(asked=asked):
                source = self.folder / ("find " + asked)
                source.mkdir()
                (source / "CMakeLists.txt").write_text(FIND.format(version=asked), encoding="utf-8")
                self.run_it("cmake", "-S", source, "-B", source / "build", f"-DCMAKE_PREFIX_PATH={self.prefix}",
                            status=status)

    def test_pkg_config(self):
        flags = self.run_it("pkg-config", "--cflags", "--libs", "fovea").replace("\\ ", "\0").split()
        self.run_it("g++", "-std=c++20", "-O2", *self.environment["CXXFLAGS"].split(), self.examples / "attention_layer.cc",
                    *(flag.replace("\0", " ") for flag in flags), "-o", "layer")
        self.assertIn("learned", self.run_it("./layer"))


class Refusals(unittest.TestCase):
    def refuse(self, *words):
        done = subprocess.run(["tools/installation", *words], check=False, text=True, capture_output=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertNotIn("Traceback", done.stderr)
        return done.stderr

    def test_a_folder_that_cannot_be_made(self):
        with tempfile.NamedTemporaryFile() as file:
            self.assertIn(file.name, self.refuse("--prefix", file.name + "/x"))

    def test_usage(self):
        self.assertIn("--prefix", self.refuse())


if __name__ == "__main__":
    sys.exit(unittest.main())
