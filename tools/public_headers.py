"""The headers that users see: those that they include, and all that these include."""
import pathlib
import re

INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.MULTILINE)
ENTRIES = ["fovea/fovea.h", "fovea/ops/define.h", "fovea/cli/main.h", "fovea/cli/gradcheck_main.h"]


def source_of(header, root):
    """The file in the source tree of a header that is included as `fovea/…`."""
    return pathlib.Path(root, pathlib.PurePath(header).relative_to("fovea"))


def public_headers(root):
    """{header: what it includes}"""
    found, pending = {}, list(ENTRIES)
    while pending:
        header = pending.pop()
        if header not in found:
            found[header] = INCLUDE.findall(source_of(header, root).read_text(encoding="utf-8"))
            pending += [include for include in found[header] if include.startswith("fovea/")]
    return found
