// Models in JSON: a file becomes a template, a template with sizes becomes a session that runs.
//
//     Model model = Model::load("layer.json");
//     model.load_weights("layer.safetensors");
//     Session session = model.bind({{"length", 512}});
//     NamedTensors out = session.run({{"x", x}});
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fovea/ops/expr.h"
#include "fovea/ops/registry.h"
#include "fovea/tensor/named_tensors.h"
#include "fovea/tensor/tensor.h"

namespace fovea {

class Session;

namespace model {
class Mistakes;
class WeightSource;
}  // namespace model

/// Sizes for a model's dims, by name.
using Sizes = std::map<std::string, std::int64_t>;

/// What messages call what the caller gives: the command and Python have other words for it.
struct Words {
  std::string inputs = "inputs";  ///< inputs, by their file if they come from one
  std::string weights = "weights";
  std::string sizes = "sizes";                ///< all sizes of dims
  std::string size = "sizes[\"{0}\"] = {1}";  ///< a dim's: `{0}` is its name, `{1}` the size
  std::string max_memory = "BindOptions::max_memory";  ///< empty: there is no such thing
};

/// How a model is bound, besides sizes.
struct BindOptions {
  std::optional<DType> dtype = {};         ///< f32 or f64: takes the place of both, casts included
  std::optional<std::uint64_t> seed = {};  ///< takes the place of the model's
  /// Inputs that stay the same from run to run. They bind the dims in their shapes. Floats of
  /// another width are converted.
  NamedTensors inputs = {};
  /// Whether inputs that neither a run nor `inputs` nor the model gives are drawn from the seed
  /// (floats normal, i64 zero, bool true), as the command does. Otherwise they must be given.
  bool draw = false;
  /// Bytes that inputs, params and a plan may take together. Default: what the machine, its control
  /// group, or the process's own limit allows.
  std::optional<std::uint64_t> max_memory = {};
  Words words = {};
};

/// A model file whose dims are open. Immutable but for its weights; copies are cheap.
///
/// Every function that reads or binds throws Error with one Diagnostic for each independent
/// mistake, placed `file.json:LINE:COLUMN: /pointer`.
class Model {
 public:
  /// Reads a model and checks all that does not depend on open dims (those without a size of their
  /// own are open, the others have it).
  static Model load(const std::string& path, const Registry& registry = Registry::builtin());
  /// The same from text. `folder` is where the weights file that it may name is.
  static Model parse(std::string_view text, const std::string& folder = ".",
                     const Registry& registry = Registry::builtin());
  /// Reads without checking sizes and keeps the mistakes: `check` and `bind` throw them together
  /// with what they find. Throws at once only for a file that is no JSON object.
  static Model read(const std::string& path, const Registry& registry = Registry::builtin());

  /// The model file as text: the template as it was read, with its dims, expressions and docs.
  /// Parsing it gives the same model, whose text is the same.
  std::string to_json() const;
  /// Writes that, completely, or the file is as it was. The weights file that the model names is
  /// looked for beside the new file: save it there as well (`Session::save_params`).
  void save(const std::string& path) const;

  const std::string& name() const;
  const std::string& doc() const;
  std::vector<std::string> input_names() const;
  /// The path of the weights file that the model names; empty if it names none.
  std::string named_weights() const;
  /// Of an input or a param, as declared (or as `choice` makes it); nothing for other names.
  std::optional<DType> dtype_of(std::string_view name, std::optional<DType> choice = {}) const;

  /// Uses this file (`.safetensors`, `.npz`, `.json`) in place of the one that the model names. It
  /// must hold exactly the params, unless the model says `"extra": "ignore"`.
  /// Plain numbers of a `.json` file take the params' dtypes. Bound sessions keep what they have.
  void load_weights(const std::string& path, std::optional<DType> choice = {});
  /// The same from memory, which is shared: its elements must not change any more.
  void set_weights(NamedTensors weights);

  /// Throws Error unless the model can be bound with these sizes; dims may stay open, then what
  /// depends on them is not checked.
  void check(const Sizes& sizes = {}, const BindOptions& options = {}) const;
  /// Throws Error as well if a dim that something needs has no size, or a param no values.
  Session bind(const Sizes& sizes = {}, const BindOptions& options = {}) const;

  struct State;
  struct Checked;
  /// `check`, and what it has built: for the project's own sources.
  Checked checked(const Sizes& sizes, const BindOptions& options, bool keep) const;

 private:
  explicit Model(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  /// Those that were given, or else those that the model names; what is wrong goes to `mistakes`.
  std::shared_ptr<const model::WeightSource> weights(model::Mistakes& mistakes) const;

  std::shared_ptr<const State> state_;
  std::shared_ptr<const model::WeightSource> weights_;
};

/// Where an input or a param has its values from.
enum class Origin { given, stated, init, weights, drawn };

/// An input or a param of a session.
struct ModelValue {
  std::string name;
  Expr expr;
  Origin origin;
};

/// A model with sizes. Copies are cheap and share everything, set params too. Any number of threads
/// may use one at once: a run works with the params that are set when it begins. What has been
/// compiled is kept, so the second run of the same outputs only computes.
///
/// The sessions of a model share the arrays of its weights and initial values, and also the packed
/// forms that matmul reads: matrices that runs multiply by from the right stand in memory twice,
/// once for all sessions, unless `max_memory` does not allow it (then they are read as they are).
/// What one session sets never reaches another.
class Session {
 public:
  std::span<const ModelValue> inputs() const;
  std::span<const ModelValue> params() const;
  const std::vector<std::pair<std::string, Expr>>& outputs() const;
  /// What a name stands for, as in a model's outputs: `x`, `att.lse`, `layers.3.att.probs`. Throws
  /// Error, with a likely name, when there is none.
  Expr value(std::string_view name) const;
  /// The values of an input or a param when nobody gives others; made when first asked for, drawn
  /// where there are none.
  Tensor tensor(const ModelValue& value) const;

  /// A param's values, read-only. Throws Error for unknown names.
  Tensor param(std::string_view name) const;
  /// Replaces params, by name or by their names in a weights file, by copies of these, all or (when
  /// it throws Error for a name, shape or dtype) none; floats of another width are converted. For
  /// this session and its copies, from the next run on; other sessions of the model keep theirs.
  /// The first run afterwards reads the params as they are; a second one with the same packs those
  /// that were set.
  void set_params(const NamedTensors& values);
  /// Writes all params, by their names in a weights file (`from`), to `.safetensors` (or `.npz`,
  /// `.json`): completely, or the file is as it was.
  void save_params(const std::string& path) const;

  /// The model's outputs. Inputs that are not given keep the values that the model or
  /// `BindOptions::inputs` gives. Throws Error for unknown names, for an input that has no value,
  /// and for other shapes and dtypes (floats of another width are converted).
  NamedTensors run(const NamedTensors& inputs = {}) const;
  /// The same into the caller's memory: `outputs` names what is wanted, the model's outputs or any
  /// value that `value` knows. Memory may be strided, and may be that of an input.
  void run(const NamedTensors& inputs, const NamedTensors& outputs) const;
  /// Any expressions over this session's inputs and params: values inside, gradients. Throws Error
  /// as `run` does, and before anything is allocated if memory does not suffice.
  ///
  ///     Expr loss = session.outputs().front().second, w = session.params().front().expr;
  ///     Tensor dw = session.compute(gradients(loss, {w}), {{"x", x}}).front();
  std::vector<Tensor> compute(std::span<const Expr> exprs, const NamedTensors& inputs = {}) const;

  /// Bytes that a run takes besides inputs, params and their packed forms; outputs included. Reads
  /// no weights.
  std::size_t peak_bytes() const;
  /// Bytes of the packed forms that the sessions of this model have in use.
  std::size_t packed_bytes() const;
  /// The steps of a run, as `Executable::explain`. Reads the weights, and packs them.
  std::string explain() const;

  /// Throws Error if computing these would take more memory than the session may use.
  void require_memory(std::span<const Expr> exprs) const;

  struct State;
  explicit Session(std::shared_ptr<const State> state) : state_(std::move(state)) {}

 private:
  std::shared_ptr<const State> state_;
};

}  // namespace fovea
