"""Adds up the test cases of Bazel's test logs: doctest's and unittest's summaries, and one case for a test without either.

usage: count_tests.py BAZEL_TESTLOGS…      prints `N passed, N failed`; exit status 1 if any failed or none ran
"""
import pathlib
import re
import sys
import xml.etree.ElementTree as xml

DOCTEST = re.compile(r"test cases:\s*(\d+) \|\s*(\d+) passed \|\s*(\d+) failed")
UNITTEST = re.compile(r"^Ran (\d+) tests? in", re.MULTILINE)
FAILURES = re.compile(r"(?:failures|errors)=(\d+)")


def count(folder):
    """(passed, failed) of one test's folder."""
    text = (folder / "test.log").read_text(encoding="utf-8", errors="replace")
    suites = xml.parse(folder / "test.xml").getroot().iter("testsuite")
    broken = any(int(suite.get(key, 0)) for suite in suites for key in ("failures", "errors"))
    passed = failed = 0
    for match in DOCTEST.finditer(text):
        passed, failed = passed + int(match[2]), failed + int(match[3])
    for match in UNITTEST.finditer(text):
        bad = sum(map(int, FAILURES.findall(text)))
        passed, failed = passed + int(match[1]) - bad, failed + bad
    if broken and not failed:
        failed += 1                                       # it crashed, or ran out of time
    if not passed and not failed:
        passed = 1
    return passed, failed


def main():
    counts = [count(log.parent) for root in sys.argv[1:] for log in pathlib.Path(root).rglob("test.log")]
    passed, failed = sum(p for p, _ in counts), sum(f for _, f in counts)
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


sys.exit(main())
