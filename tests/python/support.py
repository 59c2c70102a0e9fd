"""What the Python tests share: the module under test, and an f64 reference written from the definition.

Tests run the module that Bazel built; with FOVEA_INSTALLED=1 the one that is installed.
"""
import importlib
import os
import pathlib
import subprocess
import sys
import unittest

PACKAGE = pathlib.Path("python").absolute()


def _instrumented():
    """Whether the module needs the address sanitizer's library, which must be the first in the process."""
    core = PACKAGE / "fovea" / "_core.so"
    return b"libasan.so" in core.read_bytes()


if not os.environ.get("FOVEA_INSTALLED"):
    if _instrumented() and "libasan" not in os.environ.get("LD_PRELOAD", ""):
        found = [subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
                 for name in ("libasan.so", "libstdc++.so")]
        # The interpreter never gives everything back; leaks are tested by the memory that calls leave behind.
        environment = dict(os.environ, LD_PRELOAD=":".join(found), ASAN_OPTIONS="detect_leaks=0")
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    sys.path.insert(0, str(PACKAGE))

import numpy as np  # noqa: E402

import fovea  # noqa: E402

SANITIZED = not os.environ.get("FOVEA_INSTALLED") and _instrumented()


def module_or_skip(name):
    """The module; without it the whole test file is reported as skipped."""
    try:
        return importlib.import_module(name)
    except ImportError:
        class Missing(unittest.TestCase):
            @unittest.skip(f"{name} is not installed")
            def test_all(self):
                pass
        unittest.TextTestRunner(verbosity=2).run(Missing("test_all"))
        sys.exit(0)


def visible(batch, heads, lq, lk, *, mask=None, key_lengths=None, causal=False, align=None, query_offset=None, window=None):
    """bool (batch, heads, lq, lk), from the definition."""
    lengths = np.full(batch, lk) if key_lengths is None else np.asarray(key_lengths)
    seen = np.broadcast_to(True if mask is None else mask, (batch, heads, lq, lk)).copy()
    left, right = window or (None, None)
    for b in range(batch):
        offset = lengths[b] - lq if align == "bottom_right" else query_offset or 0
        i, j = np.arange(lq)[:, None] + offset, np.arange(lk)[None, :]
        seen[b] &= j < lengths[b]
        if causal:
            seen[b] &= j <= i
        if left is not None:
            seen[b] &= j >= i - left
        if right is not None:
            seen[b] &= j <= i + right
    return seen


def reference(q, k, v, *, bias=None, scale=None, softcap=0.0, **restrictions):
    """(y, lse, probs) in f64 for (batch, heads, length, dim) arrays."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    groups = q.shape[1] // k.shape[1] if k.shape[1] else 1
    k, v = np.repeat(k, groups, 1), np.repeat(v, groups, 1)
    s = (1 / np.sqrt(q.shape[-1]) if scale is None else scale) * q @ np.swapaxes(k, -1, -2)
    if softcap:
        s = softcap * np.tanh(s / softcap)
    if bias is not None:
        s = s + np.asarray(bias, np.float64)
    seen = visible(*s.shape, **restrictions) & (s != -np.inf)
    s = np.where(seen, s, -np.inf)
    top = np.max(s, -1, keepdims=True, initial=-np.inf)
    e = np.where(seen, np.exp(s - np.where(np.isfinite(top), top, 0)), 0)
    total = e.sum(-1, keepdims=True)
    p = np.divide(e, total, out=np.zeros_like(e), where=total > 0)
    with np.errstate(divide="ignore"):
        lse = (np.log(total) + np.where(np.isfinite(top), top, 0))[..., 0]
    return p @ v, lse, p


def reference_gradients(dy, q, k, v, **options):
    """(dq, dk, dv, dbias of the scores' shape), from the definition."""
    scale = options.get("scale")
    scale = 1 / np.sqrt(q.shape[-1]) if scale is None else scale
    y, _, p = reference(q, k, v, **options)
    q, k, v, dy = (np.asarray(x, np.float64) for x in (q, k, v, dy))
    heads, kv_heads = q.shape[1], k.shape[1]
    wide_k, wide_v = np.repeat(k, heads // kv_heads, 1), np.repeat(v, heads // kv_heads, 1)
    ds = p * (dy @ np.swapaxes(wide_v, -1, -2) - np.sum(dy * y, -1, keepdims=True))
    draw = scale * ds
    if options.get("softcap"):
        raw = scale * q @ np.swapaxes(wide_k, -1, -2)
        draw = draw * (1 - np.tanh(raw / options["softcap"]) ** 2)

    def fold(x):
        return x.reshape(x.shape[0], kv_heads, heads // kv_heads, *x.shape[2:]).sum(2)
    return draw @ wide_k, fold(np.swapaxes(draw, -1, -2) @ q), fold(np.swapaxes(p, -1, -2) @ dy), ds


def tolerance(dtype, result):
    """The contract's bound for f32; for f64 the same with its epsilon."""
    bound = 1e-5 if dtype == np.float32 else 1e-13
    return bound * (1 + np.max(np.abs(result), initial=0))
