// The gradient checker as a doctest assertion. Include <doctest/doctest.h> first.
#pragma once

#include "fovea/graph/gradcheck.h"

/// CHECK_GRADIENTS(output, {x, y}) or CHECK_GRADIENTS(outputs, wrt, options): passes if
/// `check_gradients` of the same arguments does; the failure's text is the report.
#define CHECK_GRADIENTS(...)                                                                 \
  do {                                                                                       \
    const ::fovea::GradientReport fovea_report = ::fovea::check_gradients(__VA_ARGS__);      \
    CHECK_MESSAGE(fovea_report.passed(), "gradients\n" << ::fovea::to_string(fovea_report)); \
  } while (false)
