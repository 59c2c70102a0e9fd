"""Mistakes that people make with the command, files included. mistakes.txt shows what it says about each.

A case is a name, the words after `fovea`, and files: {path: bytes, text, or a function that makes the path}.
"""
import json
import os

from tests.cli.array_files import npy, npz, safetensors, tensor, weights, zipped

MODEL = {
    "fovea": 1,
    "dims": {"rows": 2, "width": 3, "out": 4},
    "inputs": {"x": {"shape": ["rows", "width"]}, "ids": {"shape": ["rows"], "dtype": "i64"}},
    "params": {"in_proj_weight": {"shape": ["width", "3*width"]}, "bias": {"shape": ["3*width"]}},
    "nodes": [
        {"name": "h", "op": "matmul", "inputs": ["x", "in_proj_weight"]},
        {"name": "y", "op": "add", "inputs": ["h", "bias"]},
        {"name": "loss", "op": "mean", "inputs": ["y"]},
    ],
    "outputs": {"y": "y", "loss": "loss", "ids": "ids"},
}
GOOD = {"in_proj_weight": (3, 9), "bias": (9,)}
FILES = {"m.json": json.dumps(MODEL), "w.safetensors": weights(GOOD)}
RUN = ["run", "m.json", "--weights", "w.safetensors"]

CASES = []


def case(name, words, files=None, **options):
    CASES.append((name, words, {**FILES, **(files or {})}, options))


def model_with(**changes):
    return json.dumps({**MODEL, **changes})


def folder(path):
    os.mkdir(path)


# ---- usage

for name, words in {
        "no command": [],
        "a misspelt command": ["rnu", "m.json"],
        "a command of another program": ["train", "m.json"],
        "an option before the command": ["--seed", "1", "run", "m.json"],
        "an empty command": [""],
        "a command that is not UTF-8": [b"\xff\xfe"],
        "run without a model": ["run"],
        "two models": ["run", "m.json", "n.json"],
        "an unknown option": [*RUN, "--output", "y.npz"],
        "an option of another command": [*RUN, "--wrt", "x"],
        "an option without its value": [*RUN, "--inputs"],
        "an option given twice": [*RUN, "--seed", "1", "--seed", "2"],
        "a short option": [*RUN, "-o", "y.npz"],
        "an empty path": ["run", ""],
        "an empty path of an option": [*RUN, "--inputs", ""],
        "a dim without a size": [*RUN, "--dim", "rows"],
        "a dim without a name": [*RUN, "--dim", "=3"],
        "a dim with a text": [*RUN, "--dim", "rows=many"],
        "a negative dim": [*RUN, "--dim", "rows=-2"],
        "a dim with a fraction": [*RUN, "--dim", "rows=2.5"],
        "a dim beyond 63 bits": [*RUN, "--dim", "rows=9223372036854775808"],
        "a dim given twice": [*RUN, "--dim", "rows=2", "--dim", "rows=3"],
        "an unknown dim": [*RUN, "--dim", "row=2"],
        "a dim that makes an overflow": [*RUN, "--dim", "rows=4611686018427387904"],
        "a dim that needs more memory than there is": [*RUN, "--dim", "rows=100000000000"],
        "a dim against the weights": [*RUN, "--dim", "width=5"],
        "a seed that is no number": [*RUN, "--seed", "one"],
        "a seed with a fraction": [*RUN, "--seed", "1.5"],
        "a seed beyond 64 bits": [*RUN, "--seed", "18446744073709551616"],
        "no threads": [*RUN, "--threads", "0"],
        "too many threads": [*RUN, "--threads", "1000000"],
        "threads as a text": [*RUN, "--threads", "all"],
        "a dtype for the whole model that is none": [*RUN, "--dtype", "float64"],
        "a dtype for the whole model that is no float": [*RUN, "--dtype", "i64"],
        "a limit of memory that is no size": [*RUN, "--max-memory", "plenty"],
        "a limit of memory with an unknown unit": [*RUN, "--max-memory", "3Q"],
        "a limit of memory that is negative": [*RUN, "--max-memory", "-1"],
        "a limit of memory that does not suffice": [*RUN, "--max-memory", "64"],
        "a negative tolerance": [*RUN, "--expect", "e.json", "--rtol", "-1"],
        "a tolerance that is not finite": [*RUN, "--expect", "e.json", "--atol", "inf"],
        "a tolerance that is no number": [*RUN, "--expect", "e.json", "--atol", "small"],
        "an unknown value": [*RUN, "--values", "y,hh"],
        "an unknown output of a node": [*RUN, "--values", "h.lse"],
        "a value that stands twice": [*RUN, "--values", "y,y"],
        "an empty name of a value": [*RUN, "--values", "y,,h"],
        "a gradient of several outputs": ["grad", "m.json", "--weights", "w.safetensors"],
        "a gradient of an output with several elements": ["grad", "m.json", "--weights", "w.safetensors", "--of", "y"],
        "a gradient of an unknown output": ["grad", "m.json", "--weights", "w.safetensors", "--of", "lose"],
        "a gradient of integers": ["grad", "m.json", "--weights", "w.safetensors", "--of", "ids"],
        "a gradient for an unknown name": ["grad", "m.json", "--weights", "w.safetensors", "--of", "loss", "--wrt", "xs"],
        "a gradient for integers": ["grad", "m.json", "--weights", "w.safetensors", "--of", "loss", "--wrt", "ids"],
        "a gradient for a node": ["grad", "m.json", "--weights", "w.safetensors", "--of", "loss", "--wrt", "h"],
        "cotangents that are neither a file nor a word": ["grad", "m.json", "--weights", "w.safetensors", "--cotangents", "one"],
        "gradcheck of nothing": ["gradcheck"],
        "gradcheck of a model and of ops": ["gradcheck", "m.json", "--ops"],
        "gradcheck of an unknown op": ["gradcheck", "--ops", "sotfmax"],
        "documentation of an unknown op": ["ops", "atention"],
        "documentation of two ops": ["ops", "add", "mul"],
        "validate with outputs": ["validate", "m.json", "--outputs", "y.npz"],
}.items():
    case(name, words)

for variable, value in [("FOVEA_THREADS", "many"), ("FOVEA_THREADS", "0"), ("FOVEA_THREADS", "-3"),
                        ("FOVEA_THREADS", "99999999999999999999"), ("FOVEA_ISA", "avx1024"), ("FOVEA_ISA", "AVX2"),
                        ("FOVEA_ISA", "neon64")]:
    case(f"the environment has {variable}={value}", RUN, env={variable: value})

# ---- files that cannot be read or written

for name, path, make in [
        ("that is not there", "none", None), ("that is a folder", "d", folder), ("that is a pipe", "p", os.mkfifo),
        ("that is a device", "/dev/zero", None), ("that is a link to itself", "l", lambda path: os.symlink("l", path)),
        ("that is a link to nothing", "l", lambda path: os.symlink("nowhere", path)),
        ("in a folder that is a file", "m.json/x", None), ("with a name that is too long", "x" * 300, None)]:
    files = {path: make} if make else {}
    case(f"a model {name}", ["run", path], files)
    if make is folder or path == "none":
        for option, ending in (("--inputs", ".npz"), ("--weights", ".safetensors"), ("--expect", ".json")):
            case(f"{option} with a file {name}", [*RUN[:2 if option == "--weights" else 4], option, path + ending],
                 {path + ending: make} if make else {})
case("a device as weights", [*RUN[:2], "--weights", "z.safetensors"], {"z.safetensors": lambda path: os.symlink("/dev/zero", path)})
case("a pipe as inputs", [*RUN, "--inputs", "p.npz"], {"p.npz": os.mkfifo})
for option in ("--inputs", "--expect"):
    case(f"{option} with an unknown ending", [*RUN, option, "x.csv"], {"x.csv": "1,2\n"})
case("--weights with an unknown ending", [*RUN[:2], "--weights", "w.pt"], {"w.pt": b"PK"})
case("--inputs without an ending", [*RUN, "--inputs", "x"], {"x": ""})
case("--inputs with an .npy file", [*RUN, "--inputs", "x.npy"], {"x.npy": npy()})
case("--outputs with an unknown ending", [*RUN, "--outputs", "y.pt"])
case("--outputs in a folder that is not there", [*RUN, "--outputs", "none/y.npz"])
case("--outputs in a folder that is a file", [*RUN, "--outputs", "m.json/y.npz"])
case("--outputs over a folder", [*RUN, "--outputs", "d.npz"], {"d.npz": folder})
case("--outputs over a pipe", [*RUN, "--outputs", "p.npz"], {"p.npz": os.mkfifo})
case("--outputs to a folder of the system's", [*RUN, "--outputs", "/proc/y.npz"])
for ending in (".npz", ".safetensors", ".json"):
    case(f"--outputs {ending} on a full disk", [*RUN, "--outputs", "y" + ending], file_size=0)
    case(f"--outputs {ending} beyond a limit", [*RUN, "--outputs", "y" + ending], file_size=100)
case("stdout on a full disk", RUN, stdout="/dev/full")

for option, path in (("--outputs", "x.npz"), ("--outputs", "./w.safetensors"), ("--outputs", "l.json")):
    case(f"{option} over {path}, which is read", [*RUN, "--inputs", "x.npz", option, path],
         {"x.npz": npz({"x": npy()}), "l.json": lambda path: os.symlink("m.json", path)})
case("gradients over the weights that the model names", ["grad", "m.json", "--of", "loss", "--outputs", "w.safetensors"],
     {"m.json": model_with(weights="w.safetensors")})
case("two pictures in one file", ["show", "m.json", "--svg", "p.svg", "--dot", "p.svg"])
case("a reproducer over the model", ["gradcheck", "model.json", "--weights", "w.safetensors", "--repro", "."],
     {"model.json": FILES["m.json"]})
case("a picture over the model", ["show", "m.json", "--dot", "m.json"])
case("a model as inputs", [*RUN, "--inputs", "m.json"])
case("arrays as a model", ["run", "x.json"], {"x.json": '{"x": [[1, 2, 3]]}'})
case("weights as a model", ["run", "w.safetensors"])
case("an argument behind --", [*RUN, "--", "n.json"])
for option, path in (("--svg", "d"), ("--svg", "none/x.svg"), ("--dot", "d"), ("--dot", "/dev/full"), ("--dot", "p")):
    case(f"show {option} to {path}", ["show", "m.json", option, path], {"d": folder, "p": os.mkfifo})
for option in ("--report", "--junit", "--svg"):
    case(f"gradcheck {option} in a folder that is not there", ["gradcheck", "m.json", "--weights", "w.safetensors", option, "none/x"])
case("a gradient to a device", ["grad", "m.json", "--weights", "w.safetensors", "--of", "loss", "--outputs", "/dev/full"])
case("show on a full disk", ["show", "m.json"], stdout="/dev/full")
case("the schema on a full disk", ["schema"], stdout="/dev/full")
case("the list of ops on a full disk", ["ops"], stdout="/dev/full")

# ---- the model's file

for name, content in {
        "empty": "", "of one NUL": "\0", "of text": "hello\n", "in another encoding": '{"fovea": 1}'.encode("utf-16"),
        "that is not UTF-8": b'{"fovea": 1, "name": "\xff"}', "with an overlong encoding": b'{"fovea": 1, "name": "\xc0\xaf"}',
        "with half of a surrogate": '{"fovea": 1, "name": "\\ud800"}', "that is cut off": FILES["m.json"][:100],
        "that is an archive": npz({"x": npy()}), "of many brackets": "[" * 100000, "of many objects": '{"a":' * 100000,
        "with a long number": '{"fovea": ' + "1" * 5000 + "}", "with a long word": '{"fovea": ' + "x" * 5000 + "}",
        "with a long text": '{"fovea": "' + "x" * 5000 + '"}'}.items():
    case(f"a model {name}", ["validate", "m.json"], {"m.json": content})
case("a model with a byte order mark and a mistake", ["validate", "m.json"],
     {"m.json": b"\xef\xbb\xbf" + model_with(seed="x").encode()})
for path in ("../w.safetensors", "/etc/passwd", "s/../../w.safetensors", "w.npz", "", "none.safetensors", "a\0b.safetensors", "d"):
    case(f"a model whose weights are {path!r}", ["run", "m.json"], {"m.json": model_with(weights=path), "d": folder})
case("a model whose weights are a link that leaves its folder", ["run", "m.json"],
     {"m.json": model_with(weights="l.safetensors"), "l.safetensors": lambda path: os.symlink("/etc/passwd", path)})
case("a model whose weights are in a linked folder outside", ["run", "m.json"],
     {"m.json": model_with(weights="l/w.safetensors"), "l": lambda path: os.symlink("/usr", path)})
case("a model in a folder whose weights are cut off", ["run", "s/m.json"],
     {"s": folder, "s/m.json": model_with(weights="w.safetensors"), "s/w.safetensors": weights(GOOD)[:-1]})
case("a model in a folder whose weights are transposed", ["run", "s/m.json"],
     {"s": folder, "s/m.json": model_with(weights="w.safetensors"),
      "s/w.safetensors": weights({**GOOD, "in_proj_weight": (9, 3)})})
case("fifty mistakes", ["validate", "m.json"],
     {"m.json": model_with(nodes=[{"name": f"n{i}", "op": "nothing", "inputs": []} for i in range(50)], outputs=[])})
case("twenty long mistakes", ["validate", "m.json"],
     {"m.json": model_with(nodes=[{"name": f"n{i}", "op": "x" * 3000, "inputs": []} for i in range(20)], outputs=[])})

REPEATED = {
    "fovea": 1,
    "inputs": {"x": {"shape": [2]}},
    "blocks": {"b": {"inputs": {"h": {"shape": [2]}}, "params": {"w": {"shape": [2], "from": "l.{i}.w"}},
                     "nodes": [{"name": "y", "op": "mul", "inputs": ["h", "w"]}], "outputs": ["y"]}},
    "nodes": [{"name": "s", "block": "b", "inputs": ["x"], "repeat": 2}],
    "outputs": ["s"],
}


def repeated_with(**changes):
    return json.dumps({**REPEATED, "nodes": [{**REPEATED["nodes"][0], **changes}]})


case("an index in a weight's name without repetition", ["validate", "m.json"],
     {"m.json": model_with(params={**MODEL["params"], "bias": {"shape": ["3*width"], "from": "l.{i}.bias"}})})
case("an index in a weight's name of a block that is applied once", ["validate", "m.json"],
     {"m.json": json.dumps({**REPEATED, "nodes": [{"name": "s", "block": "b", "inputs": ["x"]}]})})
case("an index in the name of a weight that repetitions share", ["validate", "m.json"], {"m.json": repeated_with(share=True)})
case("a name in the weights file that is a number", ["run", "m.json", "--weights", "w.safetensors"],
     {"m.json": model_with(params={**MODEL["params"], "bias": {"shape": ["3*width"], "from": 3}})})
case("sharing without repetition", ["validate", "m.json"],
     {"m.json": json.dumps({**REPEATED, "nodes": [{"name": "s", "block": "b", "inputs": ["x"], "share": True}]})})
case("a repetition's weight that is missing", ["run", "m.json", "--weights", "r.safetensors"],
     {"m.json": repeated_with(), "r.safetensors": weights({"l.0.w": (2,), "l.2.w": (2,)})})
case("a repetition's weight of another shape", ["run", "m.json", "--weights", "r.safetensors"],
     {"m.json": repeated_with(), "r.safetensors": weights({"l.0.w": (2,), "l.1.w": (3,)})})

# ---- weights

for name, shapes in {
        "with one transposed": {**GOOD, "in_proj_weight": (9, 3)}, "with another shape": {**GOOD, "in_proj_weight": (3, 8)},
        "with one axis more": {**GOOD, "bias": (1, 9)}, "with one flat": {**GOOD, "in_proj_weight": (27,)},
        "with one missing": {"bias": (9,)}, "with one misspelt": {"in_proj_weights": (3, 9), "bias": (9,)},
        "with one more": {**GOOD, "out_proj": (3, 3)}, "with a prefix": {"encoder." + key: shape for key, shape in GOOD.items()},
        "of another model": {"a": (1,), "b": (2,)}, "of no tensors": {}, "with a scalar": {**GOOD, "bias": ()},
        "with a parameter in capitals": {"in_proj_weight": (3, 9), "BIAS": (9,)}}.items():
    case(f"weights {name}", RUN, {"w.safetensors": weights(shapes)})
case("weights with axes in another order", ["run", "m.json", "--weights", "r.safetensors"],
     {"m.json": json.dumps({"fovea": 1, "params": {"w": {"shape": [2, 3, 4]}}, "nodes": [], "outputs": ["w"]}),
      "r.safetensors": weights({"w": (4, 2, 3)})})
case("weights for a block whose inputs have no size", ["run", "m.json", "--weights", "r.safetensors"],
     {"m.json": json.dumps({
         **REPEATED, "dims": {"n": None}, "inputs": {"x": {"shape": ["n"]}},
         "blocks": {"b": {**REPEATED["blocks"]["b"], "inputs": {"h": {"shape": ["n"]}}}}}),
      "r.safetensors": weights({"l.0.w": (2,), "l.1.w": (2,)})})
case("weights of integers", RUN,
     {"w.safetensors": safetensors({"in_proj_weight": tensor((3, 9)), "bias": tensor((9,), 108, "I64")}, bytes(108 + 72))})
case("no weights for a parameter without init", ["run", "m.json"])
case("a gradient without weights", ["grad", "m.json", "--of", "loss"])
case("weights for a model without parameters", ["run", "n.json", "--weights", "w.safetensors"],
     {"n.json": json.dumps({"fovea": 1, "inputs": {"x": {"shape": [2]}}, "nodes": [], "outputs": ["x"]})})

HEADER = {"in_proj_weight": tensor((3, 9)), "bias": tensor((9,), 108)}
DATA = bytes(108 + 36)


def header_with(**changes):
    return {**HEADER, "bias": {**HEADER["bias"], **changes}}


for name, content in {
        "empty": b"", "of seven bytes": b"1234567", "of text": b"hello, this is text", "with a header of 2^63 bytes": safetensors(
            HEADER, DATA, length=1 << 63), "with a header longer than the file": safetensors(HEADER, DATA, length=10**6),
        "with a header of nothing": safetensors("", DATA), "with a header that is no JSON": safetensors("{x", DATA),
        "with a header that is a list": safetensors("[]", DATA), "with a header cut off": safetensors(HEADER, DATA)[:60],
        "one byte short": safetensors(HEADER, DATA[:-1]), "one byte long": safetensors(HEADER, DATA + b"\0"),
        "without data": safetensors(HEADER), "with an unknown dtype": safetensors(header_with(dtype="F8"), DATA),
        "with a dtype that is a number": safetensors(header_with(dtype=32), DATA),
        "without a shape": safetensors({**HEADER, "bias": {"dtype": "F32", "data_offsets": [108, 144]}}, DATA),
        "with a shape that is a number": safetensors(header_with(shape=9), DATA),
        "with a negative extent": safetensors(header_with(shape=[-9]), DATA),
        "with an extent that is a fraction": safetensors(header_with(shape=[9.5]), DATA),
        "with extents whose product overflows": safetensors(header_with(shape=[1 << 62, 4]), DATA),
        "with an extent beyond 63 bits": safetensors(header_with(shape=[1 << 64]), DATA),
        "with a gap": safetensors(header_with(data_offsets=[112, 148]), bytes(148)),
        "with an overlap": safetensors(header_with(data_offsets=[104, 140]), bytes(140)),
        "with offsets in reverse": safetensors(header_with(data_offsets=[144, 108]), DATA),
        "with offsets that do not fit the shape": safetensors(header_with(data_offsets=[108, 140]), bytes(140)),
        "with offsets beyond the file": safetensors(header_with(shape=[1 << 40], data_offsets=[108, 108 + (1 << 42)]), DATA),
        "with one offset": safetensors(header_with(data_offsets=[108]), DATA),
        "with an unknown key": safetensors(header_with(stride=[1]), DATA),
        "with a tensor that stands twice": safetensors('{"bias": %s, "bias": %s}' % ((json.dumps(tensor((9,))),) * 2), bytes(36)),
        "with metadata that is a number": safetensors({**HEADER, "__metadata__": 3}, DATA),
        "with metadata of numbers": safetensors({**HEADER, "__metadata__": {"format": 3}}, DATA),
        "with a name that is not UTF-8": safetensors('{"\udcff": %s}' % json.dumps(tensor((9,))), bytes(36)),
        "nested deeper than 100": safetensors('{"a": ' + "[" * 200, DATA)}.items():
    case(f"a safetensors file {name}", RUN, {"w.safetensors": content})

# ---- inputs

X = {"x": npy(), "ids": npy("<i8", (2,))}

for name, arrays in {
        "an unknown array": {"xs": npy()}, "another rank": {"x": npy(shape=(6,))}, "another extent": {"x": npy(shape=(2, 4))},
        "a scalar": {"x": npy(shape=())}, "integers for floats": {"x": npy("<i8")}, "bools for floats": {"x": npy("|b1")},
        "floats for integers": {"ids": npy("<f4", (2,))}, "an extent that another contradicts": {**X, "ids": npy("<i8", (3,))},
        "complex numbers": {"x": npy("<c8")}, "texts": {"x": npy("<U1")}, "objects": {"x": npy("|O8")},
        "another byte order": {"x": npy(">f4")}, "unsigned numbers": {"x": npy("<u8")},
        "an array for a parameter": {"bias": npy(shape=(9,))},
        "columns first in an odd order": {"x": npy(header="{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2, 3)}")},
        "a shape with a negative extent": {"x": npy(header="{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3)}")},
        "a shape beyond 63 bits": {"x": npy(header="{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 3)}")},
        "a shape larger than its data": {"x": npy(shape=(2000, 3000), data=bytes(24))},
        "a byte less": {"x": npy(data=bytes(23))}, "a byte more": {"x": npy(data=bytes(25))},
        "a header without shape": {"x": npy(header="{'descr': '<f4', 'fortran_order': False}")},
        "a header with a further key": {"x": npy(header="{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': 1}")},
        "a header that is code": {"x": npy(header="__import__('os').system('true')")},
        "a header of an unknown version": {"x": npy(version=(9, 0))}, "no array": {"x": b"hello"}, "nothing": {"x": b""},
        "a header that is cut off": {"x": npy()[:30]}}.items():
    case(f"inputs with {name}", [*RUN, "--inputs", "x.npz"], {"x.npz": npz(arrays)})
case("a dim against the inputs", [*RUN, "--inputs", "x.npz", "--dim", "rows=3"], {"x.npz": npz(X)})

for name, content in {
        "that is empty": b"", "of text": b"hello", "that is cut off": npz(X)[:-30], "with a byte before it": b"x" + npz(X),
        "with a wrong checksum": npz(X, crc=1), "that claims 4 GB": npz(X, size=0xfffffff0), "that claims a byte more": npz(
            X, size=len(npy()) + 1), "that claims to be encrypted": npz(X, flags=1), "with an unknown compression": npz(X, method=12),
        "with data that cannot be inflated": zipped([("x.npy", npy())], method=9), "with a wrong count": npz(X, count=1),
        "with a wrong start": npz(X, start=5), "with a member that stands twice": zipped([("x.npy", npy())] * 2),
        "with a member that is no array": zipped([("x.txt", b"hello")]), "with a folder": zipped([("a/", b"")]),
        "with a path that leads outside": zipped([("../x.npy", npy())]), "with a name that is not UTF-8": zipped([(b"\xff.npy", npy())]),
        "whose members are deflated and lie": npz(X, method=8, size=10**6), "whose members are deflated and damaged": npz(
            X, method=8, crc=5)}.items():
    case(f"an archive {name}", [*RUN, "--inputs", "x.npz"], {"x.npz": content})

for name, content in {
        "that is empty": "", "that is a list": "[[1, 2, 3], [4, 5, 6]]", "with rows of different lengths": '{"x": [[1, 2, 3], [4, 5]]}',
        "with a text": '{"x": [[1, 2, 3], [4, 5, "six"]]}', "with null": '{"x": null}', "with bools for floats": '{"x": [true, false]}',
        "with a fraction for integers": '{"ids": [1, 2.5]}', "with integers beyond 63 bits": '{"ids": [1, 9223372036854775808]}',
        "with a number that f64 cannot hold": '{"x": [[1e999, 0, 0], [0, 0, 0]]}', "with an array that stands twice": '{"x": [], "x": []}',
        "with an unknown key": '{"x": {"value": [1], "type": "f32"}}', "with an unknown dtype": '{"x": {"value": [1], "dtype": "f16"}}',
        "with another shape than it says": '{"x": {"value": [1, 2], "shape": [3]}}', "with mixed depths": '{"x": [1, [2]]}',
        "of many brackets": '{"x": ' + "[" * 200, "with NaN without quotes": '{"x": [NaN]}', "with an unknown array": '{"y": 1}',
        "with another extent": '{"x": [[1, 2], [3, 4]]}'}.items():
    case(f"inputs in JSON {name}", [*RUN, "--inputs", "x.json"], {"x.json": content})

# ---- expected results, cotangents

for name, content in {"with an unknown name": '{"z": 1}', "without arrays": "{}", "of another shape": '{"y": [[1, 2]]}',
                      "of another dtype": '{"ids": {"value": [1.5, 2], "dtype": "f32"}}', "in JSON that is cut off": '{"y": ['}.items():
    case(f"expected results {name}", [*RUN, "--expect", "e.json"], {"e.json": content})
for name, content in {"of another shape": '{"y": [1, 2]}', "with an unknown name": '{"z": 1}', "for integers": '{"ids": [1, 2]}',
                      "without arrays": "{}"}.items():
    case(f"cotangents {name}", ["grad", "m.json", "--weights", "w.safetensors", "--cotangents", "c.json"], {"c.json": content})
