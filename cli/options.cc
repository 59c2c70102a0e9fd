#include "fovea/cli/options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>

#include "fovea/tensor/format.h"
#include "fovea/tensor/version.h"

namespace fovea::cli {

namespace {

constexpr std::string_view kAbout =
    "Fovea computes attention models that are written in JSON, their gradients, and checks of "
    "those.\n";

/// Options that several commands share.
enum Group : unsigned { files = 1, outputs = 2, sizes = 4, json = 8 };

struct Command {
  const char *name, *about, *example;
  unsigned groups;
};

constexpr Command kCommands[] = {
    {"run", "Computes a model's outputs",
     "fovea run examples/attention.json\n"
     "  fovea run layer.json --dim length=512 --inputs x.npz --outputs y.npz",
     files | outputs | sizes | json},
    {"grad", "Computes gradients of a model's outputs",
     "fovea grad layer.json --of loss --wrt w_qkv,w_out --outputs gradients.npz\n"
     "  fovea grad layer.json --of y --cotangents ones",
     files | outputs | sizes | json},
    {"gradcheck", "Checks gradients against numeric differentiation",
     "fovea gradcheck examples/attention.json --edges --svg errors.svg\n"
     "  fovea gradcheck --ops softmax,matmul --order 2",
     files | sizes | json},
    {"validate", "Checks a model without running it",
     "fovea validate layer.json\n"
     "  fovea validate layer.json --dim length=512",
     files | sizes | json},
    {"show", "Shows what a model consists of, and what it costs",
     "fovea show examples/attention.json\n"
     "  fovea show layer.json --dim length=512 --svg layer.svg",
     files | sizes | json},
    {"schema", "Prints the JSON Schema of model files, for editors",
     "fovea schema > model.schema.json", json},
    {"ops", "Documents the ops",
     "fovea ops\n"
     "  fovea ops attention",
     json},
};

const Command* command_named(std::string_view name) {
  const auto at = std::ranges::find(kCommands, name, &Command::name);
  return at == std::end(kCommands) ? nullptr : at;
}

template <class... Args>
[[noreturn]] void usage(fmt::format_string<Args...> text, Args&&... args) {
  throw UsageError(fmt::format(text, std::forward<Args>(args)...));
}

std::vector<std::string> split(const std::string& option, const std::string& list) {
  std::vector<std::string> names;
  std::size_t begin = 0;
  while (true) {
    const std::size_t comma = list.find(',', begin);
    names.push_back(list.substr(begin, comma - begin));
    if (names.back().empty()) {
      usage("{} {}: an empty name; names separated by commas are required", option,
            fovea::quoted(list));
    }
    if (comma == list.npos) return names;
    begin = comma + 1;
  }
}

template <class Number>
std::optional<Number> whole(std::string_view text) {
  Number number{};
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size()) return {};
  return number;
}

void set_dim(const std::string& text, Sizes& dims) {
  const std::size_t equals = text.find('=');
  const auto size = equals == text.npos ? std::optional<std::int64_t>()
                                        : whole<std::int64_t>(text.substr(equals + 1));
  if (!size || equals == 0 || *size < 0) {
    usage("--dim {}: NAME=N with a size of 0 or more is required", fovea::quoted(text));
  }
  const std::string name = text.substr(0, equals);
  const auto [at, is_new] = dims.emplace(name, *size);
  if (!is_new && at->second != *size) {
    usage("--dim {}: {} is {} already; give each dim once", fovea::quoted(text), name, at->second);
  }
}

std::uint64_t bytes(const std::string& text) {
  static const std::map<std::string, double> units{
      {"", 1},         {"B", 1},      {"K", 0x1p10},   {"KiB", 0x1p10}, {"M", 0x1p20},
      {"MiB", 0x1p20}, {"G", 0x1p30}, {"GiB", 0x1p30}, {"T", 0x1p40},   {"TiB", 0x1p40},
      {"KB", 1e3},     {"kB", 1e3},   {"MB", 1e6},     {"GB", 1e9},     {"TB", 1e12}};
  const std::size_t end = std::min(text.find_first_not_of("0123456789."), text.size());
  double amount = 0;
  const auto read = std::from_chars(text.data(), text.data() + end, amount);
  const auto unit = units.find(text.substr(end));
  const bool valid = end > 0 && read.ec == std::errc() && read.ptr == text.data() + end &&
                     unit != units.end() && amount * unit->second < 0x1p63;
  if (!valid) {
    usage("--max-memory {}: a size such as 512M, 2GiB or 1000000 is required", fovea::quoted(text));
  }
  return static_cast<std::uint64_t>(amount * unit->second);
}

std::uint64_t seed(const std::string& text) {
  if (const auto number = whole<std::uint64_t>(text)) return *number;
  if (const auto number = whole<std::int64_t>(text)) return static_cast<std::uint64_t>(*number);
  usage("--seed {}: an integer in 64 bits is required", fovea::quoted(text));
}

int threads(const std::string& text) {
  const auto number = whole<int>(text);
  if (!number || *number < 1 || *number > 1024) {
    usage("--threads {}: a number from 1 to 1024 is required", fovea::quoted(text));
  }
  return *number;
}

int order(const std::string& text) {
  const auto number = whole<int>(text);
  if (!number || *number < 1 || *number > 8) {
    usage("--order {}: a number from 1 to 8 is required", fovea::quoted(text));
  }
  return *number;
}

// `10s`, `2m`, `500ms`, `10`.
double seconds(const std::string& text) {
  static const std::map<std::string, double> units{{"", 1},   {"s", 1},    {"ms", 1e-3},
                                                   {"m", 60}, {"min", 60}, {"h", 3600}};
  const std::size_t end = std::min(text.find_first_not_of("0123456789."), text.size());
  double amount = 0;
  const auto read = std::from_chars(text.data(), text.data() + end, amount);
  const auto unit = units.find(text.substr(end));
  if (end == 0 || read.ec != std::errc() || read.ptr != text.data() + end || unit == units.end()) {
    usage("--budget {}: a time such as 10s, 500ms or 2m is required", fovea::quoted(text));
  }
  return amount * unit->second;
}

double tolerance(const std::string& option, const std::string& text) {
  double number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size() ||
      !(number >= 0) || std::isinf(number)) {
    usage("{} {}: a number of 0 or more is required", option, fovea::quoted(text));
  }
  return number;
}

DType float_dtype(const std::string& text) {
  const std::optional<DType> dtype = dtype_named(text);
  if (!dtype || !is_float(*dtype)) {
    usage("--dtype {}: f32 or f64 is required{}", fovea::quoted(text),
          dtype ? "" : did_you_mean(text, {"f32", "f64"}));
  }
  return *dtype;
}

/// Builds CLI11's description of one command, with callbacks that fill `options`.
class Parser {
 public:
  Parser(CLI::App& app, const Command& command, Options& options)
      : app_(*app.add_subcommand(command.name, command.about)), options_(options) {
    app_.footer(format("Example:\n  {}\n", command.example));
    app_.allow_extras();
    app_.set_help_flag("-h,--help", "Print this help and exit");
    add(command);
  }

  CLI::App& app() { return app_; }

 private:
  using Setter = std::function<void(const std::string&)>;

  // An option that may stand once.
  CLI::Option* value(const char* name, const char* type, const char* help, Setter set) {
    return app_.add_option_function<std::string>(name, std::move(set), help)
        ->type_name(type)
        ->allow_extra_args(false);
  }
  CLI::Option* text(const char* name, const char* type, const char* help, std::string& to) {
    return value(name, type, help, [&to, name](const std::string& given) {
      if (given.empty()) usage("{}: an empty text; a value is required", name);
      to = given;
    });
  }
  void names(const char* name, const char* help, std::vector<std::string>& to) {
    value(name, "NAME,...", help,
          [&to, name](const std::string& given) { to = split(name, given); });
  }

  void add(const Command& command) {
    const std::string_view name = command.name;
    if (name == "ops") {
      app_.add_option("NAME", options_.ops, "The op to describe (default: a list of all)")
          ->type_name("")
          ->expected(0, 1);
    } else if (name != "schema") {
      CLI::Option* model = app_.add_option("MODEL", options_.model, "The model, a .json file");
      model->type_name("");
      if (name != "gradcheck") model->required();
    }
    if (name == "run") add_run();
    if (name == "grad") add_grad();
    if (name == "show") add_show();
    if (name == "gradcheck") add_gradcheck();
    if (command.groups & files) add_files();
    if (command.groups & outputs) {
      text("--outputs", "FILE", "Write the results there (.npz, .safetensors or .json)",
           options_.outputs);
    }
    if (command.groups & sizes) add_sizes();
    app_.add_flag("--quiet", options_.quiet, "Print errors only");
    if (command.groups & json) {
      app_.add_flag("--json", options_.json, "Print a machine-readable result");
    }
  }

  void add_show() {
    text("--dot", "FILE", "Write a picture for Graphviz", options_.dot);
    text("--svg", "FILE", "Write a picture; Graphviz must be installed", options_.svg);
  }

  void add_run() {
    names("--values", "Compute these values instead of the outputs, e.g. att.probs,q",
          options_.values);
    text("--expect", "FILE", "Compare the results with known ones", options_.expect);
    value("--rtol", "R", "Relative tolerance of --expect (default 1e-5)",
          [this](const std::string& given) { options_.rtol = tolerance("--rtol", given); });
    value("--atol", "A", "Absolute tolerance of --expect (default 1e-6)",
          [this](const std::string& given) { options_.atol = tolerance("--atol", given); });
  }

  void add_grad() {
    names("--wrt", "Inputs and params to differentiate by (default: all that are floats)",
          options_.wrt);
    names("--of", "Outputs to differentiate (default: all)", options_.of);
    text("--cotangents", "FILE|ones|random",
         "Weights of the outputs' elements: a file of arrays named after outputs, or all 1, or "
         "random",
         options_.cotangents);
  }

  void add_gradcheck() {
    app_.add_option_function<std::vector<std::string>>(
            "--ops",
            [this](const std::vector<std::string>& given) {
              options_.check_ops = true;
              for (const std::string& list : given) {
                if (!list.empty()) options_.ops = split("--ops", list);
              }
            },
            "Check the registry's ops instead of a model: all, or these")
        ->type_name("[NAME,...]")
        ->expected(0, 1);
    value("--order", "N", "Check derivatives of this order (default 1)",
          [this](const std::string& given) { options_.order = order(given); });
    value("--budget", "TIME", "Begin no comparison after this time, e.g. 10s; the report says so",
          [this](const std::string& given) { options_.budget = seconds(given); });
    app_.add_flag("--edges", options_.edges,
                  "Try the model's attention on inputs that break implementations too");
    app_.add_flag("--laws", options_.laws,
                  "With --ops: check every law of ops, not those of gradients and memory alone");
    text("--report", "FILE", "Write every figure as JSON", options_.report);
    text("--junit", "FILE", "Write a JUnit report for a CI system", options_.junit);
    text("--svg", "FILE", "Write a heat map of the errors of failing inputs", options_.svg);
    text("--repro", "DIR", "Where the check fails: write a model of the one op to blame there",
         options_.repro);
  }

  void add_files() {
    text("--inputs", "FILE", "Arrays for the inputs (.npz, .safetensors or .json)",
         options_.inputs);
    text("--weights", "FILE", "Arrays for the params, in place of the model's weights file",
         options_.weights);
  }

  void add_sizes() {
    app_.add_option_function<std::vector<std::string>>(
            "--dim",
            [this](const std::vector<std::string>& given) {
              for (const std::string& one : given) set_dim(one, options_.dims);
            },
            "Size of a dim; may be repeated")
        ->type_name("NAME=N")
        ->allow_extra_args(false);
    value("--dtype", "f64", "Compute the whole model in f64 (or f32)",
          [this](const std::string& given) { options_.dtype = float_dtype(given); });
    value("--seed", "N", "Seed of initial and drawn values, in place of the model's",
          [this](const std::string& given) { options_.seed = seed(given); });
    value("--max-memory", "SIZE", "Refuse to use more memory, e.g. 512M or 2GiB",
          [this](const std::string& given) { options_.max_memory = bytes(given); });
    value("--threads", "N", "Threads to use (default: FOVEA_THREADS, else all CPUs)",
          [this](const std::string& given) { options_.threads = threads(given); });
  }

  CLI::App& app_;
  Options& options_;
};

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> commands_with(const std::string& option) {
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    Options options;
    CLI::App app;
    const std::vector<std::string> known = option_names(Parser(app, command, options).app());
    if (std::ranges::find(known, option) != known.end()) names.emplace_back(command.name);
  }
  return names;
}

void refuse_extras(const CLI::App& app) {
  const std::vector<std::string> extras = app.remaining();
  if (extras.empty()) return;
  const std::string& word = extras.front();
  if (word.starts_with("-")) {
    const std::string name = word.substr(0, word.find('='));
    const std::vector<std::string> others = commands_with(name);
    usage("{}: unknown option {}{}", app.get_name(), fovea::quoted(word),
          others.empty() ? did_you_mean(name, option_names(app))
                         : format("; it is an option of {}", fmt::join(others, ", ")));
  }
  usage("{}: unexpected argument {}; see fovea {} --help", app.get_name(), fovea::quoted(word),
        app.get_name());
}

// The first word, unless it asks for help or the version.
const Command& chosen_command(int argc, char** argv) {
  std::vector<std::string> names;
  for (const Command& command : kCommands) names.emplace_back(command.name);
  if (argc < 2) {
    usage("a command is missing; one of {} is required, see fovea --help", fmt::join(names, ", "));
  }
  const std::string word = argv[1];
  if (const Command* command = command_named(word)) return *command;
  if (word.starts_with("-")) {
    usage("unknown option {}; a command comes first: {}{}", fovea::quoted(word),
          fmt::join(names, ", "), did_you_mean(word, {"--help", "--version"}));
  }
  usage("unknown command {}; known are {}{}", fovea::quoted(word), fmt::join(names, ", "),
        did_you_mean(word, names));
}

// CLI11's text for an option with no value or with two, in our words.
std::string reason(const CLI::ParseError& error) {
  const std::string text = error.what();
  const std::string name = text.substr(0, text.find(':'));
  if (text.find("At Most 1 required") != text.npos) {
    return name.starts_with("-") ? format("{}: given more than once; once is allowed", name)
                                 : format("{}: more than one; at most one is taken", name);
  }
  const std::size_t type = text.find("1 required ");
  if (type != text.npos && text.ends_with(" missing")) {
    const std::size_t begin = type + std::string_view("1 required ").size();
    return format("{}: a value is missing; {} is required", name,
                  text.substr(begin, text.rfind(" missing") - begin));
  }
  const std::size_t extra = text.find(" not expected: ");
  if (extra != text.npos) {
    const std::size_t begin = text.find(": ", extra) + 2;
    return format("unexpected argument {}", fovea::quoted(text.substr(begin)));
  }
  return text;
}

std::string general_help() {
  std::string text(kAbout);
  text += "\nUsage: fovea COMMAND [OPTIONS]\n\nCommands:\n";
  for (const Command& command : kCommands) {
    text += format("  {:<10} {}\n", command.name, command.about);
  }
  text +=
      "\nOptions:\n  --help     Print this help, or that of a command\n  --version  Print the "
      "version\n\nExample:\n  fovea run examples/attention.json\n";
  return text;
}

}  // namespace

std::optional<Options> parse_options(int argc, char** argv, std::string& out) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first == "--help" || first == "-h") {
    out = general_help();
    return {};
  }
  if (first == "--version") {
    out = format("fovea {}\n", kVersion);
    return {};
  }
  Options options;
  const Command& command = chosen_command(argc, argv);
  options.command = command.name;
  options.words.assign(argv + 1, argv + argc);
  CLI::App app(std::string(kAbout), "fovea");
  Parser parser(app, command, options);
  bool version = false;
  parser.app().add_flag("--version", version, "Print the version and exit");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    out = parser.app().help("fovea");
    return {};
  } catch (const CLI::ParseError& error) {
    if (version) {
      out = format("fovea {}\n", kVersion);
      return {};
    }
    usage("{}: {}", command.name, reason(error));
  }
  if (version) {
    out = format("fovea {}\n", kVersion);
    return {};
  }
  refuse_extras(parser.app());
  if (options.model.empty() && (command.groups & sizes) && options.command != "gradcheck") {
    usage("{}: an empty text as MODEL; a file's name is required", options.command);
  }
  if (options.command == "gradcheck" && options.check_ops != options.model.empty()) {
    if (options.check_ops) {
      usage("gradcheck: both --ops and the model {}; one of them is required",
            fovea::quoted(options.model));
    }
    usage("gradcheck: MODEL is missing; a model or --ops is required");
  }
  if (options.laws && !options.check_ops) {
    usage("gradcheck: --laws with a model; they are laws of ops, --ops is required");
  }
  if (options.laws && options.order > 1) {
    usage("gradcheck: --laws with --order {}; order 1 is required (law 6 is that of order 2)",
          options.order);
  }
  return options;
}

}  // namespace fovea::cli
