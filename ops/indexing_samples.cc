// The calls on which the ops of indexing.h are tested.
#include <cmath>

#include "fovea/ops/indexing.h"

namespace fovea {

std::vector<Sample<Take>> Take::samples() {
  return {{{}, {arg::normal({5, 3}), arg::integers({2, 4}, -5, 5)}, "rows of a table, some twice"},
          {{.axis = 1}, {arg::normal({2, 4, 3}), arg::integers({5}, -4, 4)}, "in the middle"},
          {{.axis = -1}, {arg::normal({2, 4}), arg::integers({3}, 0, 4)}, "the last axis"},
          {{}, {arg::normal({4}), arg::integers({2, 2}, 0, 4)}, "of a vector"},
          {{.axis = 1}, {arg::normal({3, 4}), arg::values({-1}, {}, i64)}, "the axis disappears"},
          {{}, {arg::normal({2, 3}), arg::values({1, 1, 1, -1, 1}, {5}, i64)}, "always one"},
          {{}, {arg::normal({0, 3}), arg::integers({0}, 0, 1)}, "nothing from nothing"},
          {{.axis = 1}, {arg::normal({0, 3}), arg::integers({2}, 0, 3)}, "no rows"},
          {{}, {arg::integers({6, 2}, -9, 9), arg::integers({3}, 0, 6)}, "i64"},
          {{}, {arg::bernoulli({6, 2}), arg::integers({3}, 0, 6)}, "bool"}};
}

std::vector<Reject<Take>> Take::rejects() {
  return {
      {{},
       {arg::normal({5, 4}), arg::values({0, 5}, {2}, i64)},
       "index 5 at [1] of indices: x (5, 4) has extent 5 at axis 0; -5 to 4 are required"},
      {{.axis = 1}, {arg::normal({5, 4}), arg::values({-5}, {1, 1}, i64)}, "index -5 at [0, 0]"},
      {{},
       {arg::normal({0, 4}), arg::values({0}, {}, i64)},
       "index 0 of indices: x (0, 4) has extent 0 at axis 0; no index is possible"},
      {{}, {arg::normal({5, 4}), arg::normal({2})}, "indices are f64; i64 is required"},
      {{.axis = 2}, {arg::normal({5, 4}), arg::integers({2}, 0, 4)}, "axis 2 at rank 2"},
      {{}, {arg::normal({}), arg::integers({2}, 0, 4)}, "a scalar has no axes"}};
}

std::vector<Sample<Gather>> Gather::samples() {
  return {{{}, {arg::normal({3, 4}), arg::integers({3, 2}, -4, 4)}, "the last axis"},
          {{.axis = 0}, {arg::normal({3, 4}), arg::integers({5, 4}, 0, 3)}, "more than there are"},
          {{.axis = 1}, {arg::normal({2, 3, 2}), arg::integers({2, 4, 2}, -3, 3)}},
          {{}, {arg::normal({4}), arg::values({2, 2, -2}, {3}, i64)}, "one element only"},
          {{}, {arg::normal({2, 0}), arg::integers({2, 0}, 0, 1)}, "nothing from nothing"},
          {{.axis = 0}, {arg::normal({3, 0}), arg::integers({2, 0}, 0, 3)}, "no columns"},
          {{}, {arg::integers({2, 5}, -9, 9), arg::integers({2, 3}, 0, 5)}, "i64"},
          {{}, {arg::bernoulli({2, 5}), arg::integers({2, 3}, 0, 5)}, "bool"}};
}

std::vector<Reject<Gather>> Gather::rejects() {
  return {
      {{},
       {arg::normal({2, 3}), arg::values({0, 1, 2, 3}, {2, 2}, i64)},
       "index 3 at [1, 1] of indices: x (2, 3) has extent 3 at axis 1; -3 to 2 are required"},
      {{}, {arg::normal({2, 3}), arg::integers({3, 3}, 0, 3)}, "equal extents except at axis 1"},
      {{.axis = 0}, {arg::normal({2, 3}), arg::integers({3}, 0, 2)}, "equal ranks"},
      {{}, {arg::normal({2, 3}), arg::normal({2, 3})}, "indices are f64; i64 is required"},
      {{.axis = -3}, {arg::normal({2, 3}), arg::integers({2, 3}, 0, 2)}, "axis -3 at rank 2"}};
}

std::vector<Sample<ScatterAdd>> ScatterAdd::samples() {
  return {
      {{},
       {arg::normal({3, 4}), arg::integers({3, 6}, -4, 4), arg::normal({3, 6})},
       "the last axis, some twice"},
      {{.axis = 0}, {arg::normal({3, 4}), arg::integers({2, 4}, 0, 3), arg::normal({2, 4})}},
      {{.axis = 1},
       {arg::normal({2, 3, 2}), arg::integers({2, 4, 2}, -3, 3), arg::normal({2, 4, 2})}},
      {{},
       {arg::normal({4}), arg::values({2, 2, -2}, {3}, i64), arg::normal({3})},
       "one element only"},
      {{},
       {arg::normal({2, 3}), arg::integers({2, 0}, 0, 1), arg::normal({2, 0})},
       "nothing to add"},
      {{.axis = 0},
       {arg::normal({3, 0}), arg::integers({2, 0}, 0, 3), arg::normal({2, 0})},
       "no columns"},
      {{},
       {arg::normal({2, 3}), arg::integers({2, 3}, 0, 3), arg::normal({2, 3})},
       "shapes all equal"},
      {{},
       {arg::integers({2, 5}, -9, 9), arg::integers({2, 7}, 0, 5), arg::integers({2, 7}, -9, 9)},
       "i64"}};
}

std::vector<Reject<ScatterAdd>> ScatterAdd::rejects() {
  return {{{},
           {arg::normal({2, 3}), arg::values({0, -4}, {2, 1}, i64), arg::normal({2, 1})},
           "index -4 at [1, 0] of indices: x (2, 3) has extent 3 at axis 1; -3 to 2 are required"},
          {{},
           {arg::normal({2, 3}), arg::integers({2, 2}, 0, 3), arg::normal({2, 3})},
           "updates (2, 3) and indices (2, 2); equal shapes are required"},
          {{},
           {arg::normal({2, 3}), arg::integers({3, 2}, 0, 3), arg::normal({3, 2})},
           "equal extents except at axis 1"},
          {{},
           {arg::normal({3}), arg::integers({2}, 0, 3), arg::integers({2}, 0, 3)},
           "equal dtypes are required"},
          {{},
           {arg::normal({3}), arg::normal({3}), arg::normal({3})},
           "indices are f64; i64 is required"},
          {{}, {arg::bernoulli({3}), arg::integers({2}, 0, 3), arg::bernoulli({2})}, "bool"},
          {{.axis = 2},
           {arg::normal({3}), arg::integers({2}, 0, 3), arg::normal({2})},
           "axis 2 at rank 1"}};
}

std::vector<Sample<OneHot>> OneHot::samples() {
  return {{{.classes = 4}, {arg::integers({2, 3}, -4, 4)}},
          {{.classes = 3, .dtype = f64}, {arg::values({1}, {}, i64)}, "one index"},
          {{.classes = 3, .dtype = i64}, {arg::integers({4}, 0, 3)}},
          {{.classes = 2, .dtype = boolean}, {arg::integers({3, 1}, -2, 2)}},
          {{.classes = 0}, {arg::integers({0}, 0, 1)}, "nothing"}};
}

std::vector<Reject<OneHot>> OneHot::rejects() {
  return {{{.classes = 3},
           {arg::values({0, 3}, {2}, i64)},
           "index 3 at [1] of indices: there are 3 classes; -3 to 2 are required"},
          {{}, {arg::values({0}, {1}, i64)}, "there are 0 classes; no index is possible"},
          {{.classes = -1}, {arg::integers({2}, 0, 3)}, "classes -1"},
          {{.classes = 3}, {arg::normal({2})}, "indices are f64; i64 is required"}};
}

std::vector<Sample<Argmax>> Argmax::samples() {
  return {{{}, {arg::spread({2, 3, 5})}},
          {{.axis = 0}, {arg::spread({4, 3})}},
          {{.axis = 1, .keep_dims = true}, {arg::spread({2, 3, 2})}},
          {{},
           {arg::values({1, 3, 3, 2, 2, 2, 0, std::nan(""), std::nan("")}, {3, 3})},
           "equals and NaN"},
          {{.axis = 1}, {arg::normal({0, 3})}, "no rows"},
          {{}, {arg::integers({3, 4}, -2, 3)}, "i64"},
          {{}, {arg::bernoulli({3, 4})}, "bool"}};
}

std::vector<Reject<Argmax>> Argmax::rejects() {
  return {{{},
           {arg::normal({2, 0})},
           "x (2, 0) is empty along axis 1; at least one element is required"},
          {{.axis = 2}, {arg::normal({2, 3})}, "axis 2 at rank 2"},
          {{}, {arg::normal({})}, "a scalar has no axes"}};
}

std::vector<Sample<Iota>> Iota::samples() {
  return {{{.extent = 5}, {}},
          {{.extent = 3, .dtype = f32}, {}},
          {{.extent = 1, .dtype = f64}, {}},
          {{}, {}, "nothing"}};
}

std::vector<Reject<Iota>> Iota::rejects() {
  return {{{.extent = -1}, {}, "extent -1; an extent is 0 or more"},
          {{.extent = 3, .dtype = boolean}, {}, "i64, f32 or f64 is required"}};
}

}  // namespace fovea
