"""Reads every #include of the project and says which ones point against the layers, or bring a library where it must not be."""
import pathlib
import sys
import unittest

from tools.public_headers import INCLUDE, public_headers

LAYERS = ["tensor", "ops/kernels", "ops", "graph", "cli", "python"] # an include points to the left, or stays
ROOT = pathlib.Path(__file__).absolute().parent.parent


def layer_of(path):
    folder = str(path)
    for layer in sorted(LAYERS, key=len, reverse=True):
        if folder.startswith(layer + "/"):
            return layer
    return None


def sources():
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*")):
            if path.suffix in (".h", ".cc"):
                name = path.relative_to(ROOT)
                yield name, INCLUDE.findall(path.read_text(encoding="utf-8"))


class Layers(unittest.TestCase):
    def test_there_are_sources(self):
        self.assertGreater(len(list(sources())), 50)

    def test_includes_point_to_the_left(self):
        for name, includes in sources():
            own = LAYERS.index(layer_of(name))
            for include in includes:
                if include.startswith("fovea/"):
                    target = layer_of(pathlib.PurePath(include).relative_to("fovea"))
                    with self.subTest(source=str(name), include=include):
                        self.assertIsNotNone(target)
                        self.assertLessEqual(LAYERS.index(target), own)

    def test_libraries_stay_where_they_belong(self):
        for name, includes in sources():
            for include in includes:
                with self.subTest(source=str(name), include=include):
                    if include.startswith("xsimd/"):
                        self.assertEqual(layer_of(name), "ops/kernels")
                    if include.startswith("nlohmann/"):
                        self.assertNotIn(layer_of(name), ("ops", "ops/kernels"))
                    if include.startswith("CLI/"):
                        self.assertEqual(layer_of(name), "cli")
                    if include.startswith("pybind11/"):
                        self.assertEqual(layer_of(name), "python")
                    if include.startswith("fovea/cli/"):
                        self.assertEqual(layer_of(name), "cli")

    def test_public_headers_include_only_the_standard_library_and_each_other(self):
        self.assertGreater(len(public_headers(ROOT)), 20)
        for header, includes in public_headers(ROOT).items():
            for include in includes:
                with self.subTest(header=header, include=include):
                    self.assertRegex(include, r"^(fovea/(tensor|ops|graph|cli)/\w+\.h|[a-z_0-9]+)$")


if __name__ == "__main__":
    sys.exit(unittest.main())
