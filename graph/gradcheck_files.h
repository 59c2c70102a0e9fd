// Reports as files: for programs, for CI systems, for the eye, and to repeat a failure.
#pragma once

#include <string>

#include "fovea/graph/gradcheck.h"

namespace fovea {

/// JSON with every figure of the report; numbers that JSON lacks are the strings "inf", "-inf",
/// "nan".
std::string report_as_json(const GradientReport& report);

/// JUnit's XML: a test case for each row and contract; `fail` and `inconclusive` are failures,
/// `vacuous` rows are skipped.
std::string report_as_junit(const GradientReport& report);

/// A heat map of |error| / (largest element of the gradient) for each failing row that has one:
/// rows of the picture are the leading axes, columns the last axis; one colour for each power of
/// ten. A line of text where there is nothing to show.
std::string report_as_svg(const GradientReport& report);

/// Writes `model.json`, one node, and `inputs.safetensors`, its inputs where the check failed, into
/// `folder`, which is made if it is not there. Returns the command that checks it. Throws Error if
/// it cannot be written, or if the culprit has no op.
std::string write_reproducer(const std::string& folder, const Culprit& culprit, std::uint64_t seed);

}  // namespace fovea
