"""Writes the source that registers every op found in the headers given: a struct, not a template, that begins with its `name`.

usage: list_ops.py HEADER… > builtin_ops.cc
"""
import pathlib
import re
import sys

SAMPLED = re.compile(r"^  static std::vector<Sample<(\w+)>> samples\(\);", re.MULTILINE)
OP = re.compile(r"(?<!>\n)^struct (\w+)(?: : [^{]+)? \{\n  static constexpr std::string_view\s+name =", re.MULTILINE)


def main():
    headers = [pathlib.PurePath(path) for path in sys.argv[1:]]
    ops = {}
    for header in headers:
        text = open(header, encoding="utf-8").read()
        ops[header] = OP.findall(text)
        unlisted = set(SAMPLED.findall(text)) - set(ops[header])
        if unlisted:
            sys.exit(f"{header}: {', '.join(sorted(unlisted))} has samples but does not begin with its name; nobody would find it")
    print('#include "fovea/ops/registry.h"\n')
    for header in (header for header in headers if ops[header]):
        print(f'#include "fovea/ops/{header.name}"')
    print("\nnamespace fovea {\n\nRegistry Registry::builtin() {\n  Registry registry;")
    for header in headers:
        for op in ops[header]:
            print(f"  registry.add<{op}>();")
    print("  return registry;\n}\n\n}  // namespace fovea")


main()
