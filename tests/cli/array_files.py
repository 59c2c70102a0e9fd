"""Files of arrays byte by byte, so that they can be wrong in every way."""
import json
import struct
import zlib


def npy(descr="<f4", shape=(2, 3), data=None, header=None, version=(1, 0)):
    """An .npy file; `header` replaces the text of its header."""
    if header is None:
        header = repr({"descr": descr, "fortran_order": False, "shape": shape})
    text = header.encode("latin-1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    if data is None:
        count = 1
        for extent in shape:
            count *= extent
        data = bytes(count * int(descr[2:]))
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text)) + text + data


def zipped(members, method=0, crc=None, size=None, flags=0, count=None, start=None):
    """A zip archive of [(name, content)] (names as bytes or text); the other arguments make it lie."""
    out, central = b"", b""
    for name, content in members:
        name = name if isinstance(name, bytes) else name.encode()
        stored = zlib.compress(content)[2:-4] if method == 8 else content
        fields = struct.pack("<HHHHHIII", 20, flags, method, 0, 33, zlib.crc32(content) if crc is None else crc, len(stored),
                             len(content) if size is None else size)
        central += b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, len(out)) + name
        out += b"PK\3\4" + fields + struct.pack("<HH", len(name), 0) + name + stored
    many = len(members) if count is None else count
    end = struct.pack("<HHHHIIH", 0, 0, many, many, len(central), len(out) if start is None else start, 0)
    return out + central + b"PK\5\6" + end


def npz(arrays, **lies):
    """An .npz file of {name: .npy content}."""
    return zipped([(name + ".npy", content) for name, content in arrays.items()], **lies)


def safetensors(header, data=b"", length=None):
    """`header` is an object or text; `length` replaces its length."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape, begin=0, dtype="F32", end=None):
    """A tensor's entry in the header of a .safetensors file."""
    count = 4 if dtype == "F32" else 8
    for extent in shape:
        count *= extent
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, begin + count if end is None else end]}


def weights(shapes, **lies):
    """A .safetensors file of {name: shape}, all zero."""
    header, end = {}, 0
    for name, shape in shapes.items():
        header[name] = tensor(shape, end)
        end = header[name]["data_offsets"][1]
    return safetensors(header, bytes(end), **lies)
