"""Debian 12's Python, for which extension modules are built."""

PYTHON_COPTS = ["-isystem", "/usr/include/python3.11"]

# CPython's version in a wheel's name.
PYTHON_TAG = "cp311"
