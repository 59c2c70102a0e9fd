"""Writes the pages that come from the registry and the schema: bazel run //docs:generate"""
import json
import os
import pathlib
import subprocess

INTRODUCTION = """# The model file

A model is a JSON file, UTF-8, of at most 256 MiB and 8,388,608 values. It is read strictly: an unknown key, an unused input or param, an unknown op or attribute
is an error, and all errors are reported at once, each with line and column. Dims, constants, blocks and nodes may be unused. Every
object may have a `doc`.

```json
{example}
```

`fovea validate FILE` checks a model, `fovea show FILE` says what it consists of, `fovea ops NAME` documents an op (all are in [ops.md](ops.md)).
An editor that knows JSON Schema completes names, shows this documentation and marks mistakes:

```sh
fovea schema > model.schema.json        # then, in the model:  "$schema": "./model.schema.json"
```

This page is made from that schema and from the ops that there are.
"""

LIMITS = """## Limits

Each is an error that names it: JSON nested deeper than 100; `repeat` above 100,000; more than 1,000,000 nodes after expansion; sizes
whose product, or an expression whose value, passes 63 bits; a plan whose peak memory exceeds `--max-memory` (default: what the machine,
its control group or the process's own limit has), refused before anything is allocated.

With a dim that has no size, `validate` and `show` check names, ops, attributes, ranks, dtypes and every extent that does not depend on it;
the rest is checked when the model is bound.
"""

NAMES = """## Names and values

A node's first output has the node's name; output `o` is `name.o`: `att.lse`, and `att.y` is `att`. Outputs of a variable number are
counted: `parts.0`, `parts.1`. A value `v` in a block that node `n` applies is `n.v`, and in repetition 3 of a repeated block `n.3.v`;
params likewise, but `n.p` where repetitions share them. A result and an inner value of one name must be the same value.

A number in place of a value is a scalar constant of the other operand's dtype. Numbers that JSON lacks are the strings `"inf"`, `"-inf"`
and `"nan"`.

`null` for an attribute is an error except where [ops.md](ops.md) says "or null": leave an attribute out to get its default. Negative axes
and indices count from the end.
"""

# Sections of the page: a title, and the definition or property of the schema that it shows.
SECTIONS = [
    ("Sizes and shapes", ["size", "expression", "real_expression", "shape", "dim", "dtype"]),
    ("Inputs", ["input"]), ("Params", ["param"]), ("Initial values", ["input_init"]), ("Constants", ["constant", "array", "number"]),
    ("Weights", ["weights"]), ("Nodes", ["op_node", "operand", "value"]), ("Blocks", ["block_node", "block", "block_input"]),
]


class Page:
    def __init__(self, schema):
        self.schema = schema
        self.defs = schema["$defs"]

    def kind(self, part):
        """What a part of the schema is, in a few words."""
        if "$ref" in part:
            name = part["$ref"].rsplit("/", 1)[-1]
            target = self.defs[name]
            return self.kind(target) if name in ("doc", "nodes") else name.replace("_", " ")
        if "const" in part:
            return f"`{json.dumps(part['const'])}`"
        if "enum" in part:
            return " | ".join(f"`{json.dumps(value)}`" for value in part["enum"])
        choices = part.get("anyOf") or (part.get("oneOf") if part.get("type") != "object" else None)
        if choices and all("const" in choice for choice in choices):
            return "text" if len(choices) > 8 else " | ".join(f"`{json.dumps(choice['const'])}`" for choice in choices)
        if choices:
            return " or ".join(dict.fromkeys(self.kind(choice) for choice in choices))
        kind = part.get("type")
        if isinstance(kind, list):
            return " or ".join(kind)
        if kind == "array":
            return "list of " + self.kind(part.get("items", {}))
        if kind == "object" and "propertyNames" in part:
            return "name → " + self.kind(part["additionalProperties"])
        if kind == "object":
            keys = ", ".join(key for key in part.get("properties", {}) if key != "doc")
            return f"{{{keys}}}" if 0 < len(keys) < 60 else "object"
        return {"string": "text", None: "any"}.get(kind, kind)

    def meaning(self, part):
        text = part.get("description", "")
        if not text and "$ref" in part:
            text = self.defs[part["$ref"].rsplit("/", 1)[-1]].get("description", "")
        if "default" in part:
            text += f"{' ' if text else ''}Default: `{json.dumps(part['default'])}`."
        return cell(text)

    def table(self, part):
        rows = ["| key | value | meaning |", "| --- | --- | --- |"]
        for key, one in part["properties"].items():
            if key == "doc":
                continue
            needed = " (required)" if key in part.get("required", []) else ""
            rows.append(f"| `{key}`{needed} | {cell(self.kind(one))} | {self.meaning(one)} |")
        return "\n".join(rows) + "\n"

    def definition(self, name):
        part = self.defs[name]
        text = f"**{name.replace('_', ' ')}**: {'object' if 'properties' in part else self.kind(part)}. {part.get('description', '')}\n"
        for choice in [part] + part.get("anyOf", []):
            words = [word for word in choice.get("oneOf", []) if "const" in word]
            if words and name != "op_node":
                text += "\n" + "".join(f"* `{json.dumps(word['const'])}`: {word['description']}\n" for word in words)
            if len(choice.get("properties", {})) > 1:
                text += "\n" + self.table(choice)
        return text.rstrip() + "\n"


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def signature(op):
    def slots(all_slots):
        return ", ".join({"optional": "[{}]", "variadic": "{}…"}.get(slot["arity"], "{}").format(slot["name"]) for slot in all_slots)
    return f"{op['name']}({slots(op['inputs'])}) → {slots(op['outputs'])}"


def model_format(schema, ops, differences, example):
    page = Page(schema)
    parts = [INTRODUCTION.replace("{example}", example.strip()), "## The file\n", page.table(schema), NAMES]
    for title, names in SECTIONS:
        parts.append(f"## {title}\n")
        parts += [page.definition(name) for name in names]
    parts.append("## Ops\n\n| op | computes |\n| --- | --- |\n" + "\n".join(
        f"| [`{cell(signature(op))}`](ops.md#{op['name']}) | {cell(op['doc'])} |" for op in ops) + "\n")
    parts.append(LIMITS)
    parts.append("## What the schema cannot see\n\nEvery valid model is valid by the schema. Of what is wrong with the others, only "
                 "the loader sees:\n\n" + "\n".join(f"* {what}" for what in differences) + "\n")
    return "\n".join(parts)


def ops_page(ops):
    parts = ["# Ops\n\nIn a model: `{\"name\": …, \"op\": NAME, \"inputs\": […], \"attrs\": {…}}`. Inputs in brackets may be left "
             "out; `…` stands for any number.\n"]
    for op in ops:
        parts.append(f"## {op['name']}\n\n`{signature(op)}`\n\n{op['doc']}\n")
        values = [(slot, kind) for kind in ("input", "output") for slot in op[kind + "s"] if slot["doc"]]
        if values:
            parts.append("\n".join(["| value | | what it is |", "| --- | --- | --- |"] + [
                f"| `{slot['name']}` | {kind} | {cell(slot['doc'])} |" for slot, kind in values]) + "\n")
        if op["attributes"]:
            rows = ["| attribute | type | default | meaning |", "| --- | --- | --- | --- |"]
            for one in op["attributes"]:
                default = f"`{json.dumps(one['default'])}`" if "default" in one else ""
                rows.append(f"| `{one['name']}` | {cell(one['type'])} | {default} | {cell(one['help'])} |")
            parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def pages(root):
    """Path → text, from the command in `root`, where Bazel has put it."""
    def command(*words):
        return json.loads(subprocess.run([root / "cli/fovea", *words], stdout=subprocess.PIPE, check=True).stdout)
    ops = command("ops", "--json")
    differences = json.loads((root / "docs/schema_differences.json").read_text(encoding="utf-8"))
    example = (root / "docs/example.json").read_text(encoding="utf-8")
    return {"docs/model-format.md": model_format(command("schema"), ops, differences, example), "docs/ops.md": ops_page(ops)}


if __name__ == "__main__":
    for path, text in pages(pathlib.Path.cwd()).items():
        pathlib.Path(os.environ["BUILD_WORKSPACE_DIRECTORY"], path).write_text(text, encoding="utf-8")
        print("wrote", path)
