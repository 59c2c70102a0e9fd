#include "fovea/cli/picture.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <set>

#include "fovea/tensor/format.h"

extern "C" char** environ;

namespace fovea::cli {

namespace {

constexpr std::size_t kMostBoxes = 2000;

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&' || c == '<' || c == '>' || c == '"') {
      out += format("&#{};", static_cast<int>(c));
    } else if (static_cast<unsigned char>(c) >= 0x20) {
      out += c;
    }
  }
  return out;
}

std::string grey(const std::string& text) {
  return format("<br/><font point-size=\"9\" color=\"#555555\">{}</font>", escaped(text));
}

/// What the names of a body are drawn as.
struct Drawn {
  std::map<std::string, std::string> boxes;   // values to their boxes
  std::map<std::string, std::string> params;  // params and constants, which have none: to a text
  struct Part {
    const NodeSummary* node;
    const Drawn* inside;
  };
  std::map<std::string, Part> parts;  // nodes that apply blocks
};

class Dot {
 public:
  std::string draw(const Summary& summary) {
    Drawn drawn;
    for (const ValueSummary& input : summary.inputs) {
      drawn.boxes[input.name] = ellipse(input.name, spec_text(input), "#dcebfa");
    }
    for (const auto* list : {&summary.params, &summary.constants}) {
      for (const ValueSummary& value : *list) drawn.params[value.name] = spec_text(value);
    }
    nodes(summary.nodes, drawn);
    for (const auto& [name, value] : summary.outputs) {
      const Giver from = giver_of(value.name, drawn);
      const std::string box = ellipse(name, from.box.empty() ? value.name : "", "#e3f4e1");
      edge(from, box);
    }
    const std::string title = summary.name.empty() ? "" : escaped(summary.name);
    return format(
        "digraph model {{\n"
        "label=<{}>; labelloc=t; fontname=\"Helvetica\"; fontsize=16; ranksep=0.3; nodesep=0.3;\n"
        "node [shape=box, style=\"rounded,filled\", fillcolor=white, color=\"#888888\", "
        "fontname=\"Helvetica\", fontsize=11, height=0.3, margin=\"0.12,0.05\"];\n"
        "edge [color=\"#555555\", arrowsize=0.6, fontname=\"Helvetica\", fontsize=9];\n{}{}}}\n",
        title, out_, edges_);
  }

 private:
  std::string new_box() {
    if (++boxes_ > kMostBoxes) {
      throw Error("show",
                  format("the picture has more than {} boxes; a smaller model, or one whose "
                         "layers are a repeated block, is required",
                         kMostBoxes));
    }
    return format("n{}", boxes_);
  }

  std::string ellipse(const std::string& name, const std::string& text, const char* color) {
    std::string id = new_box();
    out_ += format("{} [shape=ellipse, style=filled, fillcolor=\"{}\", label=<<b>{}</b>{}>];\n", id,
                   color, escaped(name), text.empty() ? "" : grey(text));
    return id;
  }

  // The box that gives a value, empty when none does, and which of its outputs, if not the first.
  struct Giver {
    std::string box;
    std::string_view output;
  };

  void edge(const Giver& from, const std::string& to) {
    edge(from.box, to, from.output.empty() ? "" : format(" [label=\"{}\"]", escaped(from.output)));
  }

  void edge(const std::string& from, const std::string& to, const std::string& attributes) {
    if (from.empty() || !drawn_edges_.emplace(from, to).second) return;
    edges_ += format("{} -> {}{};\n", from, to, attributes);
  }

  // Of `x`, `att.lse`, `layers.3.att.probs`.
  Giver giver_of(std::string_view name, const Drawn& drawn) const {
    const std::size_t dot = name.find('.');
    const std::string first(name.substr(0, dot));
    std::string_view rest = dot == name.npos ? "" : name.substr(dot + 1);
    if (const auto box = drawn.boxes.find(first); box != drawn.boxes.end()) {
      return {box->second, rest};
    }
    const auto part = drawn.parts.find(first);
    if (part == drawn.parts.end()) return {};
    const auto& [node, inside] = part->second;
    if (!node->repeat.empty() && !rest.empty() && rest[0] >= '0' && rest[0] <= '9') {
      const std::size_t end = rest.find('.');
      rest = end == rest.npos ? "" : rest.substr(end + 1);
    }
    for (const auto& [result, value] : node->results) {
      if (rest.empty() || rest == result) return giver_of(value, *inside);
    }
    return giver_of(rest, *inside);
  }

  void nodes(const std::vector<NodeSummary>& all, Drawn& drawn) {
    for (const NodeSummary& node : all) {
      if (node.is_block && !node.nodes.empty()) {
        block(node, drawn);
      } else {
        box(node, drawn);
      }
    }
    for (const NodeSummary& node : all) {
      if (!node.is_block || node.nodes.empty()) {
        for (const std::string& input : node.inputs) {
          edge(giver_of(input, drawn), drawn.boxes.at(node.name));
        }
      } else {
        feed(node, drawn);
      }
    }
  }

  void box(const NodeSummary& node, Drawn& drawn) {
    const std::string id = new_box();
    drawn.boxes[node.name] = id;
    std::string title = format("{}: {}{}", node.name, node.is_block ? "block " : "", node.what);
    if (!node.repeat.empty()) title += " × " + node.repeat;
    std::string label = format("<b>{}</b>", escaped(title));
    if (!node.outputs.empty()) label += grey(spec_text(node.outputs.front()));
    for (const std::string& input : node.inputs) {
      const auto param = drawn.params.find(input);
      if (param != drawn.params.end()) label += grey(input + " " + param->second);
      const bool number = input.find_first_not_of("+-.0123456789eE") == input.npos;
      if (number) label += grey(input);
    }
    const bool attention = node.what == "attention" || !node.attention.empty();
    out_ += format("{} [label=<{}>{}];\n", id, label,
                   attention ? ", fillcolor=\"#fde9cf\", color=\"#c98a2b\"" : "");
  }

  void block(const NodeSummary& node, Drawn& drawn) {
    Drawn& inside = *insides_.emplace_back(std::make_unique<Drawn>());
    std::string label = format("{}: {}", node.name, node.what);
    if (!node.repeat.empty()) label += " × " + node.repeat;
    if (node.share) label += ", shared params";
    out_ += format(
        "subgraph cluster_{} {{\nlabel=<<b>{}</b>>; style=\"rounded,filled\"; "
        "fillcolor=\"#f4f4f6\"; "
        "color=\"#888888\"; labeljust=l; fontsize=12;\n",
        new_box(), escaped(label));
    for (const ValueSummary& input : node.block_inputs) {
      inside.boxes[input.name] = ellipse(input.name, spec_text(input), "#ffffff");
    }
    for (const ValueSummary& param : node.params) inside.params[param.name] = spec_text(param);
    nodes(node.nodes, inside);
    out_ += "}\n";
    drawn.parts[node.name] = {&node, &inside};
  }

  // What a block is given, and, dashed, what a repetition gives the next.
  void feed(const NodeSummary& node, const Drawn& drawn) {
    const Drawn& inside = *drawn.parts.at(node.name).inside;
    for (std::size_t i = 0; i < node.inputs.size() && i < node.block_inputs.size(); ++i) {
      const std::string to = inside.boxes.at(node.block_inputs[i].name);
      edge(giver_of(node.inputs[i], drawn), to);
      if (node.repeat.empty() || i >= node.results.size()) continue;
      const std::string last = giver_of(node.results[i].second, inside).box;
      if (last != to) {
        edge(last, to, " [style=dashed, constraint=false, color=\"#999999\", label=\"next\"]");
      }
    }
  }

  std::string out_, edges_;
  std::size_t boxes_ = 0;
  std::vector<std::unique_ptr<Drawn>> insides_;
  std::set<std::pair<std::string, std::string>> drawn_edges_;
};

/// A nameless file in memory.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(memfd_create("fovea", MFD_CLOEXEC)) {
    if (descriptor_ < 0) fail("show", "no file in memory: {}", std::strerror(errno));
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  int descriptor() const { return descriptor_; }

  void write(std::string_view text) {
    while (!text.empty()) {
      const ssize_t put = ::write(descriptor_, text.data(), text.size());
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) fail("show", "no file in memory: {}", std::strerror(errno));
      text.remove_prefix(static_cast<std::size_t>(put));
    }
    rewind();
  }

  std::string read() {
    rewind();
    std::string text;
    char piece[4096];
    for (;;) {
      const ssize_t got = ::read(descriptor_, piece, sizeof piece);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return text;
      text.append(piece, static_cast<std::size_t>(got));
    }
  }

 private:
  void rewind() { lseek(descriptor_, 0, SEEK_SET); }
  int descriptor_;
};

}  // namespace

std::string as_dot(const Summary& summary) { return Dot().draw(summary); }

// No shell: the program is given its text as a file, and its words as they are.
std::string as_svg(const std::string& dot) {
  MemoryFile in, out, messages;
  in.write(dot);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, in.descriptor(), 0);
  posix_spawn_file_actions_adddup2(&files, out.descriptor(), 1);
  posix_spawn_file_actions_adddup2(&files, messages.descriptor(), 2);
  char program[] = "dot", format[] = "-Tsvg";
  char* words[] = {program, format, nullptr};
  pid_t child = 0;
  const int failed = posix_spawnp(&child, program, &files, nullptr, words, environ);
  posix_spawn_file_actions_destroy(&files);
  if (failed != 0) {
    fail("--svg",
         "Graphviz's program dot cannot be run ({}); install graphviz, or write --dot FILE",
         std::strerror(failed));
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  std::string svg = out.read();
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || svg.empty()) {
    std::string why = messages.read();
    why = why.substr(0, why.find('\n'));
    fail("--svg", "Graphviz's program dot failed{}{}; try --dot FILE", why.empty() ? "" : ": ",
         why);
  }
  return svg;
}

}  // namespace fovea::cli
