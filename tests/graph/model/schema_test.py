"""`fovea schema` against an independent validator: it is valid itself, accepts every valid model, and refuses every broken one but
those whose mistakes a schema cannot see. The table says which these are."""
import json
import pathlib
import re
import subprocess
import sys
import unittest

import jsonschema

FOVEA = pathlib.Path("cli/fovea")
HERE = pathlib.Path("tests/graph/model")

# What a schema cannot see: of the loader's messages, the part that tells. Where all messages about a model are of these kinds, the
# schema may accept it; where one is not, the schema must refuse it.
DIFFERENCES = json.loads(pathlib.Path("docs/schema_differences.json").read_text(encoding="utf-8"))


def command(*words):
    return subprocess.run([FOVEA, *words], stdout=subprocess.PIPE, check=True).stdout.decode()


def sections(name):
    """`=== name`, the model, and for broken ones `---` and the messages (not the drawings, which are indented)."""
    for part in (HERE / name).read_text(encoding="utf-8").split("\n=== ")[1:]:
        title, _, rest = part.partition("\n")
        model, _, messages = rest.partition("\n---\n")
        yield title, model, [line for line in messages.strip().splitlines() if not line.startswith(" ")]


def refuse(text):
    raise ValueError(text)


def unique(pairs):
    keys = [key for key, _ in pairs]
    return dict(pairs) if len(set(keys)) == len(keys) else refuse("a key stands twice")


def parse(text):
    return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)


class Schema(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.schema = json.loads(command("schema"))
        cls.validator = jsonschema.Draft202012Validator(cls.schema)
        ops = "|".join(op["name"] for op in json.loads(command("ops", "--json")))
        cls.differences = re.compile("|".join(
            pattern.replace("{op}", f"({ops})") for patterns in DIFFERENCES.values() for pattern in patterns))

    def accepts(self, model):
        with self.subTest(model=json.dumps(model)[:1000]):
            errors = [f"{error.json_path}: {error.message}" for error in self.validator.iter_errors(model)]
            self.assertEqual(errors, [])

    def test_it_is_a_schema(self):
        self.assertEqual(self.schema["$schema"], jsonschema.Draft202012Validator.META_SCHEMA["$id"])
        jsonschema.Draft202012Validator.check_schema(self.schema)

    def test_it_accepts_the_examples(self):
        models = sorted(pathlib.Path("examples").rglob("*.json"))
        self.assertGreater(len(models), 3)
        for path in models:
            model = json.loads(path.read_text(encoding="utf-8"))
            if "fovea" in model:
                self.accepts(model)

    def test_it_accepts_valid_models(self):
        models = list(sections("valid_models.txt"))
        self.assertGreater(len(models), 5)
        for _, text, _ in models:
            self.accepts(parse(text))

    def test_it_accepts_every_sample_of_every_op(self):
        done = subprocess.run([HERE / "sample_models"], stdout=subprocess.PIPE, check=True)
        models = json.loads(done.stdout)
        self.assertGreater(len(models), 150)
        for model in models:
            self.accepts(model)

    def test_it_refuses_broken_models_but_for_the_known_differences(self):
        refused = 0
        for title, text, messages in sections("broken_models.txt"):
            with self.subTest(model=title, messages=messages):
                try:
                    valid = self.validator.is_valid(parse(text))
                except (ValueError, RecursionError):
                    continue
                refused += not valid
                seen = [message for message in messages if not self.differences.search(message)]
                if valid:
                    self.assertEqual(seen, [], "the schema accepts this model; it could see what is wrong")
        self.assertGreater(refused, 50)

    def test_a_wrong_key_of_every_object_is_refused(self):
        for _, text, _ in sections("valid_models.txt"):
            for broken in with_wrong_keys(parse(text)):
                with self.subTest(model=json.dumps(broken)[:1000]):
                    self.assertFalse(self.validator.is_valid(broken))

    def test_ops_and_attributes_are_documented(self):
        ops = json.loads(command("ops", "--json"))
        known = {one["const"]: one["description"] for one in self.schema["$defs"]["op_node"]["properties"]["op"]["oneOf"]}
        self.assertEqual(known, {op["name"]: op["doc"] for op in ops})
        for op in ops:
            attributes = self.schema["$defs"]["attrs_of_" + op["name"]]["properties"]
            for attribute in op["attributes"]:
                one = attributes[attribute["name"]]
                self.assertEqual(one["description"], attribute["help"])
                self.assertEqual(one.get("default"), attribute.get("default"))
                if "default" in one:
                    self.validator.evolve(schema={**one, "$defs": self.schema["$defs"]}).validate(one["default"])


# Objects that hold names of the user's, and so any key.
NAMES = {"dims", "inputs", "params", "constants", "blocks", "outputs"}


def with_wrong_keys(model):
    def places(value, path):
        if isinstance(value, dict):
            if not (path and path[-1] in NAMES) and not (path and path[-1] == "doc"):
                yield path
            for key, child in value.items():
                yield from places(child, path + [key])
        if isinstance(value, list):
            for index, child in enumerate(value):
                yield from places(child, path + [index])
    for path in list(places(model, [])):
        copy = json.loads(json.dumps(model))
        at = copy
        for step in path:
            at = at[step]
        at["unknown_key"] = {}
        yield copy


if __name__ == "__main__":
    sys.exit(unittest.main())
