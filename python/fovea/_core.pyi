"""What the compiled module gives; import it from `fovea`."""
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, overload

Array = Any
"""A NumPy array, or another library's on the CPU: what comes back is of the kind that goes in."""
ArrayLike = Any
Window = tuple[int | None, int | None] | Sequence[int | None]
Align = Literal["top_left", "bottom_right"]

__version__: str

class Error(ValueError):
    diagnostics: Sequence[tuple[str, str, str]]

class DTypeError(Error, TypeError): ...

class AttentionLse(NamedTuple):
    y: Array
    lse: Array

class AttentionProbs(NamedTuple):
    y: Array
    probs: Array

class AttentionLseProbs(NamedTuple):
    y: Array
    lse: Array
    probs: Array

class AttentionGradient(NamedTuple):
    dq: Array
    dk: Array
    dv: Array
    dbias: Array | None

@overload
def scaled_dot_product_attention(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: ArrayLike | None = ..., bias: ArrayLike | None = ...,
    key_lengths: ArrayLike | None = ..., scale: float | None = ..., causal: bool = ..., align: Align | None = ...,
    query_offset: int | None = ..., window: Window | None = ..., softcap: float = ..., return_lse: Literal[False] = ...,
    return_probs: Literal[False] = ..., out: Array | None = ..., threads: int | None = ...) -> Array: ...
@overload
def scaled_dot_product_attention(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: ArrayLike | None = ..., bias: ArrayLike | None = ...,
    key_lengths: ArrayLike | None = ..., scale: float | None = ..., causal: bool = ..., align: Align | None = ...,
    query_offset: int | None = ..., window: Window | None = ..., softcap: float = ..., return_lse: Literal[True],
    return_probs: Literal[False] = ..., out: Array | None = ..., threads: int | None = ...) -> AttentionLse: ...
@overload
def scaled_dot_product_attention(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: ArrayLike | None = ..., bias: ArrayLike | None = ...,
    key_lengths: ArrayLike | None = ..., scale: float | None = ..., causal: bool = ..., align: Align | None = ...,
    query_offset: int | None = ..., window: Window | None = ..., softcap: float = ..., return_lse: Literal[False] = ...,
    return_probs: Literal[True], out: Array | None = ..., threads: int | None = ...) -> AttentionProbs: ...
@overload
def scaled_dot_product_attention(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: ArrayLike | None = ..., bias: ArrayLike | None = ...,
    key_lengths: ArrayLike | None = ..., scale: float | None = ..., causal: bool = ..., align: Align | None = ...,
    query_offset: int | None = ..., window: Window | None = ..., softcap: float = ..., return_lse: Literal[True],
    return_probs: Literal[True], out: Array | None = ..., threads: int | None = ...) -> AttentionLseProbs: ...
def scaled_dot_product_attention_grad(
    dy: ArrayLike | None, q: ArrayLike, k: ArrayLike, v: ArrayLike, *, y: ArrayLike | None = ..., lse: ArrayLike | None = ...,
    dlse: ArrayLike | None = ..., bias_gradient: bool = ..., mask: ArrayLike | None = ..., bias: ArrayLike | None = ...,
    key_lengths: ArrayLike | None = ..., scale: float | None = ..., causal: bool = ..., align: Align | None = ...,
    query_offset: int | None = ..., window: Window | None = ..., softcap: float = ...,
    threads: int | None = ...) -> AttentionGradient: ...

def num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def instruction_set() -> str: ...
def run_fma(dtype: Literal["f32", "f64"], operations: float) -> float: ...
def attention_second_order(*arrays: Array | None, scale: float | None, causal: bool) -> tuple[Array | None, ...]: ...

class GradientRow:
    name: str
    elements: int
    checked: int
    directions: int
    relative: float
    worst: str
    analytic: float
    numeric: float
    note: str
    verdict: str

class GradientReport:
    rows: list[GradientRow]
    notes: list[str]
    seed: int
    passed: bool
    verdict: str
    def __bool__(self) -> bool: ...

class Program:
    def __call__(self, arrays: list[ArrayLike]) -> list[Array]: ...

class BoundModel:
    def leaves(self) -> list[tuple[str, tuple[int, ...], str, str, str, str]]: ...
    def outputs(self) -> list[tuple[str, tuple[int, ...], str, str]]: ...
    def initial(self, name: str) -> Array: ...
    def forward(self) -> Program: ...
    def gradient(self, of: Sequence[str], wrt: Sequence[str]) -> Program: ...
    def gradcheck(self, arrays: list[ArrayLike | None], seed: int, order: int) -> GradientReport: ...

class ModelFile:
    name: str
    doc: str
    def __init__(self, path: str) -> None: ...
    def input_names(self) -> list[str]: ...
    def load_weights(self, path: str) -> None: ...
    def set_weights(self, arrays: Mapping[str, ArrayLike]) -> None: ...
    def bind(self, dims: Mapping[str, int], arrays: Mapping[str, ArrayLike], seed: int | None, widened: bool) -> BoundModel: ...

def check_op_gradients(name: str, seed: int) -> GradientReport: ...
def op_types() -> list[dict[str, Any]]: ...
