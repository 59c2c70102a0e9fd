"""Writes Fovea's wheel: the package, its extension module, and the libraries that this needs from the system.

usage: make_wheel.py --python cp311 --version-header tensor/version.h --license LICENSE --out DIR/ FILE…

FILEs are the package's, with their paths below a folder `fovea/`. Needs `objdump` (binutils) and `ldd`; no network. The
platform tag says the oldest glibc that has every symbol which anything in the wheel asks for.
"""
import argparse
import base64
import hashlib
import pathlib
import re
import subprocess
import zipfile

# What every Linux has, and PEP 600 lets a wheel rely on; everything else comes along.
SYSTEM = {"linux-vdso.so.1", "ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1",
          "libgcc_s.so.1", "libstdc++.so.6"}
# The libstdc++ that a distribution with this glibc has, by the newest symbol version: manylinux's own table.
GLIBCXX_NEEDS = [((3, 4, 24), (2, 28)), ((3, 4, 28), (2, 31)), ((3, 4, 29), (2, 34)), ((3, 4, 30), (2, 35))]

METADATA = """\
Metadata-Version: 2.1
Name: fovea
Version: {version}
Summary: Exact, fast and differentiable attention on the CPU, for NumPy, PyTorch and JAX arrays
License: MIT
License-File: LICENSE
Classifier: License :: OSI Approved :: MIT License
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: Python :: 3
Classifier: Programming Language :: Python :: Implementation :: CPython
Classifier: Typing :: Typed
Requires-Python: >={minimum},<{next}
Requires-Dist: numpy>=1.24
Description-Content-Type: text/markdown

# Fovea

Scaled dot-product attention and its gradients on the CPU:

```python
import numpy as np
import fovea

q, k, v = (np.random.rand(1, 8, 512, 64).astype("float32") for _ in range(3))   # (batch, heads, length, dim)
y = fovea.scaled_dot_product_attention(q, k, v, causal=True)
dq, dk, dv, _ = fovea.scaled_dot_product_attention_grad(np.ones_like(y), q, k, v, causal=True)
```

`help(fovea.scaled_dot_product_attention)` says what it takes. `fovea.torch` has PyTorch's signature.
"""

WHEEL = """\
Wheel-Version: 1.0
Generator: fovea make_wheel
Root-Is-Purelib: false
Tag: {tag}
"""


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def libraries_of(module):
    """Name → file of every library that the module needs, directly or not, and the system need not have."""
    found = {}
    for name, path in re.findall(r"^\s*(\S+) => (\S+)", output_of("ldd", str(module)), re.MULTILINE):
        if path == "not":
            raise SystemExit(f"make_wheel: {name}, which {module} needs, is not found")
        if name not in SYSTEM:
            found[name] = pathlib.Path(path).resolve()
    return dict(sorted(found.items()))


def versions_of(path, family):
    """The symbol versions of a family, such as GLIBC, that a library asks of others."""
    needed = output_of("objdump", "-p", str(path)).partition("Version References:")[2]
    return [tuple(map(int, version.split("."))) for version in re.findall(rf"\b{family}_(\d+(?:\.\d+)*)", needed)]


def notice_of(library):
    """The licence of a library, from the Debian package that it is of."""
    owner = output_of("dpkg-query", "-S", f"*/{library.name}").partition(":")[0]
    return pathlib.Path("/usr/share/doc", owner, "copyright").read_bytes()


def oldest_glibc(paths):
    glibc = max((version[:2] for path in paths for version in versions_of(path, "GLIBC")), default=(2, 17))
    glibcxx = max((version for path in paths for version in versions_of(path, "GLIBCXX")), default=(3, 4))
    for newest, needed in GLIBCXX_NEEDS:
        if glibcxx <= newest:
            return max(glibc, needed)
    raise SystemExit(f"make_wheel: GLIBCXX_{'.'.join(map(str, glibcxx))} is newer than the table in this program")


class Wheel:
    """A zip archive that is the same, byte for byte, whenever the same files go in."""

    def __init__(self, path):
        self.zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self.record = []

    def add(self, name, data, executable=False):
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.external_attr = (0o100755 if executable else 0o100644) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        self.zip.writestr(info, data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        self.record.append(f"{name},sha256={digest},{len(data)}\n")

    def close(self, record):
        self.record.append(f"{record},,\n")
        info = zipfile.ZipInfo(record, (1980, 1, 1, 0, 0, 0))
        info.external_attr = 0o100644 << 16
        self.zip.writestr(info, "".join(self.record))
        self.zip.close()


def main():
    parser = argparse.ArgumentParser()
    for option in ("--python", "--version-header", "--license", "--out"):
        parser.add_argument(option, required=True)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    options = parser.parse_args()

    version = re.search(r'kVersion = "([^"]+)"', pathlib.Path(options.version_header).read_text(encoding="utf-8"))[1]
    [module] = [path for path in options.files if path.name == "_core.so"]
    libraries = libraries_of(module)
    glibc = oldest_glibc([module, *libraries.values()])
    machine = output_of("uname", "-m").strip()
    tag = f"{options.python}-{options.python}-manylinux_{glibc[0]}_{glibc[1]}_{machine}"

    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    wheel = Wheel(out / f"fovea-{version}-{tag}.whl")
    for path in sorted(options.files, key=lambda path: path.name):
        name = path.as_posix().rpartition("/fovea/")[2]
        wheel.add(f"fovea/{name}", path.read_bytes(), executable=path == module)
    for name, path in libraries.items():
        wheel.add(f"fovea.libs/{name}", path.read_bytes(), executable=True)
    info = f"fovea-{version}.dist-info"
    minor = int(options.python[3:])
    wheel.add(f"{info}/METADATA", METADATA.format(version=version, minimum=f"3.{minor}", next=f"3.{minor + 1}").encode())
    wheel.add(f"{info}/WHEEL", WHEEL.format(tag=tag).encode())
    wheel.add(f"{info}/licenses/LICENSE", pathlib.Path(options.license).read_bytes())
    for name, path in libraries.items():
        wheel.add(f"{info}/licenses/{name}", notice_of(path))
    wheel.close(f"{info}/RECORD")


if __name__ == "__main__":
    main()
