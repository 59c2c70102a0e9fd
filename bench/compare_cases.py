"""What bench/compare.py measures: cases, their arrays, and their true results in f64."""
import dataclasses
import functools

import numpy as np


@dataclasses.dataclass(frozen=True)
class Case:
    batch: int
    heads: int
    queries: int
    keys: int
    dim: int
    kv_heads: int = 0                                       # 0: as many as heads
    causal: bool = False
    window: int = 0                                         # so many keys before a query's own, with causal; 0: no bound
    mask: bool = False
    bias: bool = False
    backward: bool = False                                  # forward and backward
    dtype: str = "f32"
    quick: bool = False                                     # also measured with --quick

    @property
    def name(self):
        keys = "" if self.keys == self.queries else f", {self.keys}"
        heads = f"{self.heads}/{self.kv_heads}" if self.kv_heads else f"{self.heads}"
        words = [f"({self.batch}, {heads}, {self.queries}{keys}, {self.dim})"]
        words += [word for word, on in (("causal", self.causal), (f"window {self.window}", self.window), ("mask", self.mask),
                                        ("bias", self.bias), ("f64", self.dtype == "f64"), ("+ backward", self.backward)) if on]
        return " ".join(words)

    @property
    def flops(self):
        """4·B·H·Lq·Lk·d forward, 14 with backward, for the pairs of query and key that causal and window leave."""
        pairs = self.queries * self.keys
        if self.window:
            pairs = sum(min(i + 1, self.window + 1) for i in range(self.queries))
        elif self.causal:
            pairs //= 2
        return (14 if self.backward else 4) * self.batch * self.heads * pairs * self.dim

    @functools.cached_property
    def arrays(self):
        """q, k, v, dy (batch, heads, length, dim), mask and bias (1, heads, Lq, Lk) or None."""
        rng = np.random.default_rng(0)
        dtype = np.float64 if self.dtype == "f64" else np.float32

        def normal(*shape):
            return rng.standard_normal(shape).astype(dtype)
        kv_heads = self.kv_heads or self.heads
        q, k, v, dy = (normal(self.batch, heads, length, self.dim) for heads, length in
                       ((self.heads, self.queries), (kv_heads, self.keys), (kv_heads, self.keys), (self.heads, self.queries)))
        mask = rng.random((1, 1, self.queries, self.keys)) < 0.8 if self.mask else None
        bias = normal(1, self.heads, self.queries, self.keys) if self.bias else None
        return q, k, v, dy, mask, bias

    def visible(self):
        """bool (Lq, Lk) of causal and window, for those who know masks only; None without these."""
        if not self.causal:
            return None
        seen = np.tri(self.queries, self.keys, dtype=bool)
        return seen & ~np.tri(self.queries, self.keys, -self.window - 1, dtype=bool) if self.window else seen

    @functools.cached_property
    def truth(self):
        """y, and with backward dq, dk and dv, in f64; head after head, so that the scores of one stay in memory."""
        q, k, v, dy, mask, bias = self.arrays
        groups = self.heads // k.shape[1]
        y, dq, dk, dv = np.zeros(dy.shape), np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
        seen, scale = self.visible(), self.dim ** -0.5
        for b in range(self.batch):
            for h in range(self.heads):
                qh, kh, vh = (x.astype(np.float64) for x in (q[b, h], k[b, h // groups], v[b, h // groups]))
                s = scale * qh @ kh.T
                if bias is not None:
                    s += bias[0, h]
                hidden = np.zeros(s.shape, bool) if seen is None else ~seen
                if mask is not None:
                    hidden = hidden | ~mask[0, 0]
                s[hidden] = -np.inf
                s -= s.max(-1, keepdims=True)
                np.exp(s, out=s)
                s /= s.sum(-1, keepdims=True)
                y[b, h] = s @ vh
                if self.backward:
                    g = dy[b, h].astype(np.float64)
                    ds = s * (g @ vh.T - np.sum(g * y[b, h], -1, keepdims=True))
                    dq[b, h] = scale * ds @ kh
                    dk[b, h // groups] += scale * ds.T @ qh
                    dv[b, h // groups] += s.T @ g
        return (y, dq, dk, dv) if self.backward else (y,)


def cases():
    square = functools.partial(Case, 1)
    forward = [
        square(1, 16, 16, 64, quick=True), square(1, 16, 16, 128), square(8, 128, 128, 64, quick=True),
        square(8, 512, 512, 64, quick=True), square(8, 1024, 1024, 64), square(8, 2048, 2048, 64), square(4, 4096, 4096, 128),
    ]
    causal = [dataclasses.replace(case, causal=True, quick=case.quick and case.queries > 16) for case in forward]
    special = [
        square(8, 1024, 1024, 64, kv_heads=2), square(8, 2048, 2048, 64, causal=True, window=255),
        square(8, 512, 512, 64, mask=True), square(8, 512, 512, 64, bias=True), square(8, 1, 4096, 128, quick=True),
        square(8, 512, 512, 64, dtype="f64"),
    ]
    backward = [dataclasses.replace(case, backward=True)
                for case in (forward[2], forward[3], forward[4], causal[3], causal[4], special[0])]
    return [*forward, *causal, *special, *backward]
