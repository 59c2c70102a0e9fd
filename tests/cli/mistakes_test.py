"""What the command says about every mistake of mistakes.py, compared with mistakes.txt, which shows it all.

After a change of wording, `bazel run //tests/cli:mistakes_test -- --update` writes the file anew.
"""
import os
import pathlib
import resource
import stat
import subprocess
import sys
import tempfile
import unittest

from tests.cli.mistakes import CASES

FOVEA = pathlib.Path("cli/fovea").absolute()
GOLDEN = pathlib.Path("tests/cli/mistakes.txt")
HEAD = "# Mistakes and what the command says. Written by `bazel run //tests/cli:mistakes_test -- --update`.\n"
MOST_BYTES, MOST_MEMORY = 4096, 2 << 30


def write(folder, files):
    for path, content in files.items():
        if callable(content):
            content(folder / path)
        else:
            (folder / path).write_bytes(content if isinstance(content, bytes) else content.encode())


def state(folder):
    """What is there: names, kinds, contents."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        found[path.name] = (stat.S_IFMT(mode), path.read_bytes() if stat.S_ISREG(mode) else None)
    return found


def shown(word):
    text = word.decode("utf-8", "backslashreplace") if isinstance(word, bytes) else word
    return text if text and len(text) < 80 and " " not in text else repr(text)[:80]


def run(words, files, env=None, file_size=None, stdout=None):
    """(status, stdout, stderr, whether the folder is as before)"""
    def limit():
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write(folder, files)
        before = state(folder)
        with open(stdout, "wb") if stdout else tempfile.TemporaryFile() as out:
            done = subprocess.run([FOVEA, *words], cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE,
                                  check=False, timeout=100, preexec_fn=limit, env={**os.environ, **(env or {})})
            printed = 0 if stdout else out.tell()
        return done.returncode, printed, done.stderr.decode(), state(folder) == before


def transcript(name, words, options, status, text):
    env = "".join(f"{key}={value} " for key, value in options.get("env", {}).items())
    line = f"{env}fovea {' '.join(map(shown, words))}".rstrip()
    return f"\n=== {name}\n$ {line}\n{text}" + (f"status {status}\n" if status != 2 else "")


def golden():
    """{name: transcript}"""
    parts = GOLDEN.read_text(encoding="utf-8").split("\n=== ")[1:]
    return {part.split("\n", 1)[0]: "\n=== " + part for part in parts}


class Mistakes(unittest.TestCase):
    maxDiff = None

    def test_every_one_gets_its_message_and_leaves_nothing(self):
        expected = golden()
        self.assertEqual(sorted(expected), sorted(name for name, *_ in CASES))
        for name, words, files, options in CASES:
            with self.subTest(mistake=name):
                status, printed, text, unchanged = run(words, files, **options)
                self.assertEqual(transcript(name, words, options, status, text), expected[name])
                self.assertEqual((status, printed), (2, 0))
                self.assertTrue(unchanged)
                self.assertLessEqual(len(text.encode()), MOST_BYTES)
        # Of the hungriest; in KiB.
        self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10, MOST_MEMORY)


def update():
    target = pathlib.Path(os.environ["BUILD_WORKSPACE_DIRECTORY"]) / GOLDEN
    text = HEAD
    for name, words, files, options in CASES:
        status, _, message, _ = run(words, files, **options)
        text += transcript(name, words, options, status, message)
    target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(update() if sys.argv[1:] == ["--update"] else unittest.main())
