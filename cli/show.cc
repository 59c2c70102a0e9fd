// `fovea show`.

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "fovea/cli/commands.h"
#include "fovea/cli/picture.h"
#include "fovea/graph/figures.h"
#include "fovea/graph/summary.h"
#include "fovea/tensor/format.h"

namespace fovea::cli {

namespace {

using Json = nlohmann::ordered_json;

// ---- text

// Characters, not bytes: some are longer.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string figure(const std::optional<double>& number, std::string (*text)(double)) {
  return !number ? "?" : *number == 0 ? "" : text(*number);
}

class Table {
 public:
  static constexpr std::size_t kColumns = 6;
  using Row = std::array<std::string, kColumns>;

  void add(Row row) { rows_.push_back(std::move(row)); }
  /// A line across all columns.
  void add_line(std::string line) { rows_.push_back({std::move(line), kLine}); }

  std::string text() const {
    std::array<std::size_t, kColumns> widths{};
    for (const Row& row : rows_) {
      if (row[1] == kLine) continue;
      for (std::size_t c = 0; c < kColumns; ++c) widths[c] = std::max(widths[c], width(row[c]));
    }
    std::string text;
    for (const Row& row : rows_) {
      std::string line;
      for (std::size_t c = 0; c < kColumns; ++c) {
        if (row[1] == kLine && c > 0) break;
        const std::string pad(widths[c] > width(row[c]) ? widths[c] - width(row[c]) : 0, ' ');
        line += (c > 0 ? "  " : "") + (c < 3 ? row[c] + pad : pad + row[c]);
      }
      line.erase(line.find_last_not_of(' ') + 1);
      text += line + "\n";
    }
    return text;
  }

 private:
  static constexpr const char* kLine = "\n";
  std::vector<Row> rows_;
};

std::string what(const NodeSummary& node) {
  if (!node.is_block) return node.what;
  std::string text = "block " + node.what;
  if (!node.repeat.empty()) text += " × " + node.repeat;
  return node.share ? text + ", shared params" : text;
}

void add_nodes(Table& table, const std::vector<NodeSummary>& nodes, const std::string& indent) {
  for (const NodeSummary& node : nodes) {
    const std::string spec = node.outputs.empty() ? "" : spec_text(node.outputs.front());
    table.add({indent + node.name, what(node), spec, figure(node.parameters, count_text),
               figure(node.flops, count_text), figure(node.bytes, bytes_text)});
    for (std::size_t o = 1; o < node.outputs.size(); ++o) {
      table.add({indent + node.outputs[o].name, "", spec_text(node.outputs[o]), "", "", ""});
    }
    if (!node.attention.empty()) table.add_line(indent + "  " + node.attention);
    add_nodes(table, node.nodes, indent + "  ");
  }
}

void add_values(Table& table, const char* title, const std::vector<ValueSummary>& values,
                bool count) {
  if (values.empty()) return;
  table.add_line(title);
  for (const ValueSummary& value : values) {
    table.add({"  " + value.name, "", spec_text(value),
               count ? figure(value.elements, count_text) : "", "",
               figure(value.bytes, bytes_text)});
  }
}

std::string totals(const Summary& summary) {
  std::string open;
  for (const auto& [name, size] : summary.dims) {
    if (size == "open") open += format(" --dim {}=N", name);
  }
  std::string text = format("total: {} node{}", count_text(summary.expanded_nodes),
                            summary.expanded_nodes == 1 ? "" : "s");
  if (summary.parameters) {
    text += format(", {} parameters ({})", count_text(*summary.parameters),
                   bytes_text(*summary.parameter_bytes));
  }
  if (summary.flops) text += format(", {} floating-point operations", count_text(*summary.flops));
  if (summary.peak_bytes) {
    text += format(", planned peak memory {} besides inputs and params",
                   bytes_text(*summary.peak_bytes));
  }
  if (!open.empty()) text += format("; the rest needs sizes:{}", open);
  return text + "\n";
}

std::string as_text(const std::string& file, const Summary& summary) {
  Table table;
  add_values(table, "inputs", summary.inputs, false);
  add_values(table, "params", summary.params, true);
  add_values(table, "constants", summary.constants, false);
  table.add_line("nodes");
  table.add({"  name", "op", "result", "parameters", "FLOPs", "bytes"});
  add_nodes(table, summary.nodes, "  ");
  table.add_line("outputs");
  for (const auto& [name, value] : summary.outputs) {
    table.add({"  " + name, value.name == name ? "" : value.name, spec_text(value), "", "",
               figure(value.bytes, bytes_text)});
  }
  std::string text = summary.name.empty() ? file : format("{} ({})", summary.name, file);
  text += "\n";
  std::vector<std::string> dims;
  for (const auto& [name, size] : summary.dims) {
    dims.push_back(size == "open" ? name + " open" : format("{}={}", name, size));
  }
  if (!dims.empty()) text += format("dims: {}\n", fmt::join(dims, ", "));
  return text + table.text() + totals(summary);
}

// ---- JSON

Json number(const std::optional<double>& value) {
  if (!value) return nullptr;
  if (*value < 0x1p53) return static_cast<std::int64_t>(*value);
  return *value;
}

Json as_json(const ValueSummary& value) {
  Json shape, names;
  if (value.shape) {
    shape = names = Json::array();
    for (const ExtentSummary& extent : *value.shape) {
      shape.push_back(extent.size ? Json(*extent.size) : Json());
      names.push_back(extent.name.empty() ? Json() : Json(extent.name));
    }
  }
  return {{"name", value.name},
          {"dtype", value.dtype ? Json(name_of(*value.dtype)) : Json()},
          {"shape", std::move(shape)},
          {"dims", std::move(names)},
          {"bytes", number(value.bytes)}};
}

Json as_json(const std::vector<ValueSummary>& values) {
  Json all = Json::array();
  for (const ValueSummary& value : values) all.push_back(as_json(value));
  return all;
}

Json as_json(const std::vector<NodeSummary>& nodes) {
  Json all = Json::array();
  for (const NodeSummary& node : nodes) {
    Json one{{"name", node.name}, {node.is_block ? "block" : "op", node.what}};
    if (!node.repeat.empty()) one["repeat"] = node.repeat;
    if (node.share) one["share"] = true;
    one["inputs"] = node.inputs;
    one["outputs"] = as_json(node.outputs);
    one["parameters"] = number(node.parameters);
    one["flops"] = number(node.flops);
    one["bytes"] = number(node.bytes);
    if (!node.attention.empty()) one["attention"] = node.attention;
    if (node.is_block) {
      one["params"] = as_json(node.params);
      one["nodes"] = as_json(node.nodes);
    }
    all.push_back(std::move(one));
  }
  return all;
}

Json as_json(const Summary& summary) {
  Json dims = Json::object(), outputs = Json::array();
  for (const auto& [name, size] : summary.dims) dims[name] = size == "open" ? Json() : Json(size);
  for (const auto& [name, value] : summary.outputs) {
    Json one = as_json(value);
    one["value"] = value.name;
    one["name"] = name;
    outputs.push_back(std::move(one));
  }
  return {{"name", summary.name},
          {"doc", summary.doc},
          {"dims", std::move(dims)},
          {"inputs", as_json(summary.inputs)},
          {"params", as_json(summary.params)},
          {"constants", as_json(summary.constants)},
          {"nodes", as_json(summary.nodes)},
          {"outputs", std::move(outputs)},
          {"total",
           {{"nodes", number(summary.expanded_nodes)},
            {"parameters", number(summary.parameters)},
            {"parameter_bytes", number(summary.parameter_bytes)},
            {"flops", number(summary.flops)},
            {"peak_bytes", number(summary.peak_bytes)}}}};
}

}  // namespace

int show(const Options& options, const Registry& registry, Outcome& out) {
  const Model model = load_model(options, registry);
  const Summary summary = summarize(model, options.dims, bind_options(options, model));
  if (!options.dot.empty()) out.texts.emplace_back(options.dot, as_dot(summary));
  if (!options.svg.empty()) out.texts.emplace_back(options.svg, as_svg(as_dot(summary)));
  if (options.json) {
    out.text = as_json(summary).dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  } else if (!options.quiet && options.dot.empty() && options.svg.empty()) {
    out.text = as_text(options.model, summary);
  }
  return 0;
}

}  // namespace fovea::cli
