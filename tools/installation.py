"""Copies headers, library, command, fovea.pc and a CMake package to a folder. tools/install builds them first.

usage: installation --prefix DIR
"""
import argparse
import pathlib
import re
import shutil
import sys

from tools.public_headers import public_headers, source_of

ROOT = pathlib.Path(__file__).absolute().parent.parent


def version():
    text = (ROOT / "tensor/version.h").read_text(encoding="utf-8")
    return re.search(r'kVersion = "([\d.]+)"', text)[1]


def copy(source, target, mode=0o644):
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)                       # a program that runs keeps its own file
    shutil.copyfile(source, target)
    target.chmod(mode)


def fill(template, target, values):
    text = (ROOT / "tools/package" / template).read_text(encoding="utf-8")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(re.sub(r"@(\w+)@", lambda name: values[name[1]], text), encoding="utf-8")


def install(prefix):
    for header in public_headers(ROOT):
        copy(source_of(header, ROOT), prefix / "include" / header)
    for name in ("libfovea.a", "libfovea_gradcheck_main.a"):
        copy(ROOT / "tools" / name, prefix / "lib" / name)
    copy(ROOT / "cli/fovea.stripped", prefix / "bin/fovea", 0o755)
    copy(ROOT / "LICENSE", prefix / "share/licenses/fovea/LICENSE")
    copy(ROOT / "third_party/LICENCES.txt", prefix / "share/licenses/fovea/third_party.txt")
    flags = (ROOT / "tools/libfovea.libraries").read_text(encoding="utf-8").split()
    values = {"version": version(), "flags": " ".join(flags),
              "libraries": " ".join(flag[2:] for flag in flags if flag.startswith("-l"))}
    fill("fovea.pc.in", prefix / "lib/pkgconfig/fovea.pc", values)
    for name in ("FoveaConfig.cmake", "FoveaConfigVersion.cmake"):
        fill(name + ".in", prefix / "lib/cmake/Fovea" / name, values)


def main():
    parser = argparse.ArgumentParser(description="Installs Fovea for builds other than Bazel's.", prog="tools/install")
    parser.add_argument("--prefix", metavar="DIR", required=True, help="where bin, include, lib and share go")
    prefix = pathlib.Path(parser.parse_args().prefix).absolute()
    try:
        install(prefix)
    except OSError as error:
        sys.exit(f"tools/install: {error.filename or prefix}: {error.strerror}")
    print(f"{prefix}: bin/fovea, include/fovea, lib/libfovea.a, lib/pkgconfig/fovea.pc, lib/cmake/Fovea")


main()
