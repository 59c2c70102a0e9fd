"""Models in JSON files, on NumPy arrays."""
import collections
import collections.abc
import math
import operator
import os
import sys

import numpy as np

from fovea import _core

__all__ = ["Model", "Spec", "gradcheck", "ops"]

Spec = collections.namedtuple("Spec", "shape dtype")
Spec.__doc__ = "Shape (a tuple of integers) and dtype (`f32`, `f64`, `i64`, `bool`) of a value."

_Leaf = collections.namedtuple("_Leaf", "name shape dtype text kind origin")
_Output = collections.namedtuple("_Output", "name shape dtype text")


def _integer(what, x, below):
    try:
        n = operator.index(x)
    except TypeError:
        raise TypeError(f"Model: {what} is {x!r}; an integer is required") from None
    if not 0 <= n < below:
        raise _core.Error(f"Model: {what} is {n}; an integer from 0 to {below - 1} is required")
    return n


def _by_name(where, what, given):
    """The mapping, {} for None."""
    if given is not None and not isinstance(given, collections.abc.Mapping):
        raise TypeError(f"{where}: {what} are {type(given).__name__}; a dict from names is required")
    return given or {}


class _Bound:
    """A model with sizes: what it takes and gives, and programs that are compiled when first needed."""

    def __init__(self, core):
        self.core = core
        self.leaves = [_Leaf(*leaf) for leaf in core.leaves()]
        self.outputs = [_Output(*output) for output in core.outputs()]
        self.version = 0                                    # of the params that `core` has
        self._programs = {}

    def of(self, kind):
        return [leaf for leaf in self.leaves if leaf.kind == kind]

    def specs(self, kind):
        return {leaf.name: Spec(leaf.shape, leaf.dtype) for leaf in self.of(kind)}

    def gradient(self, of, wrt):
        key = tuple(of), tuple(wrt)
        if key not in self._programs:
            self._programs[key] = self.core.gradient(of, wrt)
        return self._programs[key]

    def run(self, arrays, params):
        """The outputs' arrays. Params that can change at any moment are read where they are; others are the core's, which keeps
        matrices in the layout that kernels read."""
        if params.are_held():
            if None not in self._programs:
                self._programs[None] = self.core.forward()
            return self._programs[None]([*arrays, *map(params.seen.get, params)])
        version = params.version
        if self.version != version:
            self.core.set_params(dict(params.seen))
            self.version = version
        return self.core.run(arrays)


class _Params(collections.abc.MutableMapping):
    """Name → array. The arrays are the model's own: writing into them changes it. Each is made when somebody asks for it."""

    def __init__(self, bound):
        self.specs = bound.specs("param")
        self.seen = {}                                      # those that have been asked for
        self.version = 0                                    # counts how often they may have begun to change
        self._initial = bound.core.initial

    def are_held(self):
        """Whether somebody else has one of the arrays, or a view of it, and may write into it."""
        return any(sys.getrefcount(self.seen[name]) > 2 for name in list(self.seen))    # 2: `seen`, and this call

    def value(self, name):
        """The array, for those who do not write."""
        if name not in self.seen:
            if name not in self.specs:
                raise KeyError(self._unknown(name))
            self.seen.setdefault(name, self._initial(name))
        return self.seen[name]

    def __getitem__(self, name):
        array = self.value(name)
        self.version += 1
        return array

    def __setitem__(self, name, array):
        if name not in self.specs:
            raise KeyError(self._unknown(name))
        shape, dtype = self.specs[name]
        array = np.asarray(array)
        if not np.can_cast(array.dtype, _NUMPY[dtype], "same_kind"):
            raise _core.DTypeError(f"params: {name} is {array.dtype}; {dtype} is required")
        if array.shape != shape:
            raise _core.Error(f"params: {name} is {array.shape}; {shape} is required")
        self.seen[name] = np.array(array, dtype=_NUMPY[dtype], order="C", copy=True)
        self.version += 1

    def __delitem__(self, name):
        raise TypeError("a model's params cannot be deleted")

    def __contains__(self, name):
        return name in self.specs

    def __iter__(self):
        return iter(self.specs)

    def __len__(self):
        return len(self.specs)

    def __repr__(self):
        return repr(dict(self))

    def _unknown(self, name):
        return f"{name}: no such param; known are {', '.join(self.specs)}"


_NUMPY = {"f32": np.float32, "f64": np.float64, "i64": np.int64, "bool": np.bool_}


class Model:
    """A model file (JSON) whose dims may still be open.

        model = fovea.Model("layer.json", weights="layer.safetensors", dims={"length": 512})
        y = model.run(x=x)["y"]

    weights  a .safetensors, .npz or .json file, or a dict of arrays, in place of the file that the model names
    dims     sizes for named dims; those that inputs give need none
    seed     of initial values, in place of the model's

    Raises fovea.Error with all mistakes of the file, each with line and column.
    """

    def __init__(self, path, weights=None, dims=None, *, seed=None):
        self._path = os.fspath(path)
        self._file = _core.ModelFile(self._path)
        if isinstance(weights, collections.abc.Mapping):
            self._file.set_weights(dict(weights))
        elif weights is not None:
            self._file.load_weights(os.fspath(weights))
        self._dims = {name: _integer(f"dims[{name!r}]", size, 1 << 63) for name, size in _by_name("Model", "dims", dims).items()}
        self._seed = None if seed is None else _integer("seed", seed, 1 << 64)
        self._bound = {}
        self._params = None
        try:
            self._standard = self._bind({})
        except _core.Error:
            self._standard = None
            if not self._file.input_names():
                raise
            self._file.check(self._dims)                    # raises unless some dim has no size yet: inputs will give it

    # What it is.

    name = property(lambda self: self._file.name, doc="The model's name.")
    doc = property(lambda self: self._file.doc, doc="The model's doc.")

    @property
    def inputs(self):
        """Name → Spec; the Spec is None as long as a dim has no size."""
        if self._standard is None:
            return dict.fromkeys(self._file.input_names())
        return self._standard.specs("input")

    @property
    def outputs(self):
        """Name → Spec."""
        return {output.name: Spec(output.shape, output.dtype) for output in self._sized().outputs}

    @property
    def params(self):
        """Name → NumPy array, the model's own: writing into it, or assigning another of its shape, changes the model. Runs are
        faster, with matrices in the kernels' layout, while nobody holds such an array or a view of it."""
        if self._params is None:
            self._take_params_of_any_size()
        return self._params

    @params.setter
    def params(self, arrays):
        self.params.update(_by_name("params", "arrays", arrays))

    def __repr__(self):
        lines = [f"Model {self.name!r} ({self._path})"]
        if self._standard is None:
            outline = self._file.outline(self._dims)
            return "\n".join([*lines, *_table(outline["rows"]), f"  {', '.join(outline['open'])}: no size yet, which inputs or dims= give"])
        rows = [(leaf.kind, leaf.name, leaf.text, leaf.origin if leaf.origin != "drawn" else "to be given")
                for leaf in self._standard.leaves]
        rows += [("output", output.name, output.text, "") for output in self._standard.outputs]
        numbers = sum(math.prod(spec.shape) for spec in self._params.specs.values())
        return "\n".join([*lines, *_table(rows), f"  {numbers:,} numbers in {len(self._params)} params"])

    # What it does.

    def run(self, inputs=None, /, **more):
        """The outputs, name → array, for inputs given by name (or as a dict). Inputs that the model itself has values for may
        be left out."""
        inputs = {**_by_name("run", "inputs", inputs), **more}
        bound = self._bind(inputs)
        results = bound.run(self._arrays(bound, inputs), self._params)
        return {output.name: array for output, array in zip(bound.outputs, results)}

    def grad(self, inputs=None, /, *, of=None, wrt=None, cotangents=None, **more):
        """Gradients, name → array, of the outputs `of` (default all) with respect to the inputs and params `wrt` (default all
        that are floats).

        cotangents  name → array of that output's shape, default 1 for an output of one element; outputs that are not named
                    get none
        """
        inputs = {**_by_name("grad", "inputs", inputs), **more}
        bound = self._bind(inputs)
        shapes = {output.name: output.shape for output in bound.outputs if output.dtype in ("f32", "f64")}
        if cotangents is not None:
            of = list(cotangents) if of is None else _names(of)
            missing = [name for name in of if name not in cotangents]
            if missing:
                raise _core.Error(f"grad: no cotangent for {', '.join(missing)}; one for each of `of` is required")
        else:
            of = list(shapes) if of is None else _names(of)
            sizes = {name: int(np.prod(shapes[name])) for name in of if name in shapes}
            if len(of) != 1 or sizes.get(of[0], 1) != 1:
                given = ", ".join(f"{name} {shapes.get(name, '')}" for name in of)
                raise _core.Error(f"grad: the outputs are {given}; without cotangents exactly one output of one element is "
                                  "required")
            cotangents = {of[0]: np.ones(shapes.get(of[0], ()))}
        wrt = [leaf.name for leaf in bound.leaves if leaf.dtype in ("f32", "f64")] if wrt is None else _names(wrt)
        arrays = [*self._arrays(bound, inputs), *map(self._params.seen.get, self._params), *(cotangents[name] for name in of)]
        return dict(zip(wrt, bound.gradient(of, wrt)(arrays)))

    def gradcheck(self, inputs=None, /, *, seed=0, order=1, **more):
        """Checks every gradient against numeric and other derivatives, in f64. Inputs that are not given are the model's own or
        drawn. Returns a report: `passed`, `verdict`, `rows`, and a table as its text."""
        inputs = {**_by_name("gradcheck", "inputs", inputs), **more}
        seed, order = _integer("seed", seed, 1 << 64), _integer("order", order, 1 << 31)
        bound = self._bind(inputs, widened=True)
        values = {**{name: self._params.value(name) for name in self._params or ()}, **inputs}
        return bound.core.gradcheck([values.get(leaf.name) for leaf in bound.leaves], seed, order)

    # How.

    def _sized(self):
        if self._standard is None:
            self._standard = self._bind({})                 # says which dims have no size
        return self._standard

    def _bind(self, inputs, widened=False):
        try:
            arrays = {name: x if hasattr(x, "shape") else np.asarray(x) for name, x in inputs.items()}
        except ValueError as error:                         # nested lists of unequal lengths
            raise _core.Error(f"inputs: what is no array ({error}); arrays are required") from None
        key = widened, tuple(sorted((name, tuple(x.shape)) for name, x in arrays.items()))
        if key not in self._bound:
            bound = _Bound(self._file.bind(self._dims, arrays, self._seed, widened))
            if not widened:
                self._take_params(bound)
            self._bound[key] = bound
        return self._bound[key]

    def _take_params(self, bound):
        """The first sizes make the params, others must fit them."""
        if self._params is None:
            self._params = _Params(bound)
        for name, spec in bound.specs("param").items():
            if spec != self._params.specs[name]:
                raise _core.Error(f"params: {name} is {self._params.specs[name].shape}; with these inputs {spec.shape} is required")

    def _take_params_of_any_size(self):
        """Params whose shapes do not depend on the dims that are open: with two sizes in place of these they are the same."""
        def bound_with(size):
            dims = dict.fromkeys(self._file.outline(self._dims)["open"], size)
            return _Bound(self._file.bind({**dims, **self._dims}, {}, self._seed, False))
        try:
            one, other = bound_with(1), bound_with(2)
        except _core.Error:                                 # not possible sizes
            one = other = self._sized()
        self._take_params(one if one.specs("param") == other.specs("param") else self._sized())

    def _arrays(self, bound, inputs):
        """For each input an array, or None for the model's own."""
        known = [leaf.name for leaf in bound.of("input")]
        unknown = [name for name in inputs if name not in known]
        if unknown:
            raise _core.Error(f"run: unknown inputs {', '.join(unknown)}; known are {', '.join(known)}")
        missing = [leaf.name for leaf in bound.of("input") if leaf.origin == "drawn" and leaf.name not in inputs]
        if missing:
            raise TypeError(f"inputs {', '.join(missing)} are missing; the model has no values for them")
        return [inputs.get(name) for name in known]


def _table(rows):
    """Lines, with the columns below each other."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _names(names):
    return [names] if isinstance(names, str) else list(names)


def gradcheck(model=None, inputs=None, /, *, ops=None, seed=0, order=1, **more):
    """Checks gradients numerically, in f64.

        fovea.gradcheck("layer.json", x=x)          a model (a path or a Model), as Model.gradcheck
        fovea.gradcheck(ops=["softmax"])            ops on their samples; ops="all" for every op

    Returns a report, or name → report for ops.
    """
    if (model is None) == (ops is None):
        raise TypeError("gradcheck: either a model or ops= is required")
    if ops is not None:
        names = [op["name"] for op in _core.op_types()] if ops == "all" else _names(ops)
        seed = _integer("seed", seed, 1 << 64)
        return {name: _core.check_op_gradients(name, seed) for name in names}
    if not isinstance(model, Model):
        model = Model(model)
    return model.gradcheck(inputs, seed=seed, order=order, **more)


def ops():
    """Every op that models may use: a list of dicts with name, doc, inputs, outputs and attributes."""
    return _core.op_types()
