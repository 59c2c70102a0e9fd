"""Debian's Bazel 4.2.3 looks for its own rules on the internet; these are the same rules from Debian's packages."""

_SYSTEM = "/usr/share/bazel"

def debian_repositories():
    native.local_repository(name = "rules_java", path = _SYSTEM + "/rules/java")
    native.local_repository(name = "rules_proto", path = _SYSTEM + "/rules/proto")
    native.local_repository(name = "platforms", path = _SYSTEM + "/tools/platforms")
    native.local_repository(name = "bazel_skylib", path = _SYSTEM + "/tools/skylib")
    native.local_repository(name = "rules_cc", path = "third_party/debian/rules_cc")
    native.local_repository(name = "remote_coverage_tools", path = "third_party/debian/remote_coverage_tools")
