#!/usr/bin/python3
"""Writes compile_commands.json, for editors and clang-tidy, from Bazel's own list of compilations.

usage: tools/compile_commands.py
"""
import json
import pathlib
import subprocess

TOP = pathlib.Path(__file__).resolve().parent.parent


def main():
    query = ["bazel", "aquery", "--output=jsonproto", 'mnemonic("CppCompile", //...)']
    actions = json.loads(subprocess.run(query, cwd=TOP, check=True, stdout=subprocess.PIPE).stdout)["actions"]
    root = subprocess.run(["bazel", "info", "execution_root"], cwd=TOP, check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip()
    commands = [{"directory": root, "arguments": action["arguments"],
                 "file": action["arguments"][action["arguments"].index("-c") + 1]} for action in actions]
    (TOP / "compile_commands.json").write_text(json.dumps(commands, indent=1) + "\n", encoding="utf-8")
    print(f"compile_commands.json: {len(commands)} sources")


main()
