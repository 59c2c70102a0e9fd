#include "fovea/cli/main.h"

#include <functional>
#include <new>

#include "fovea/cli/commands.h"
#include "fovea/cli/terminal.h"
#include "fovea/ops/kernels/kernels.h"
#include "fovea/tensor/atomic_write.h"
#include "fovea/tensor/files.h"
#include "fovea/tensor/parallel.h"

namespace fovea {

namespace cli {

namespace {

int dispatch(const Options& options, const Registry& registry, Outcome& out) {
  if (options.threads) set_num_threads(*options.threads);
  if (!options.outputs.empty()) require_known_ending(options.outputs);
  refuse_overwriting(options);
  // A wrong FOVEA_THREADS or FOVEA_ISA is reported before work begins.
  num_threads();
  kernels::isa_in_use();
  if (options.command == "run") return run(options, registry, out);
  if (options.command == "grad") return grad(options, registry, out);
  if (options.command == "gradcheck") return gradcheck(options, registry, out);
  if (options.command == "validate") return validate(options, registry, out);
  if (options.command == "show") return show(options, registry, out);
  if (options.command == "schema") return schema(registry, out);
  return ops(options, registry, out);
}

// Files are complete before anything is printed, and get their names when it has been: whatever
// fails, neither has happened.
void write_files(const Outcome& out, const std::function<void()>& print, std::size_t next = 0) {
  if (next < out.texts.size()) {
    const auto& [path, text] = out.texts[next];
    atomic_write(
        path, [&](FileWriter& file) { file.write(text); },
        [&] { write_files(out, print, next + 1); });
  } else if (!out.file.empty()) {
    save_tensors(out.file, out.arrays, print);
  } else {
    print();
  }
}

}  // namespace

}  // namespace cli

int cli_main(int argc, char** argv, const Registry& registry) {
  constexpr int kRefused = 2;
  try {
    const bool stdout_is_open = cli::prepare_streams();
    cli::Outcome out;
    int status = 0;
    if (const auto options = cli::parse_options(argc, argv, out.text)) {
      try {
        status = cli::dispatch(*options, registry, out);
      } catch (const Error& error) {
        cli::print_error(error);
        out.text = options->json ? cli::errors_as_json(*options, error.diagnostics()) : "";
        status = kRefused;
      } catch (const cli::UsageError& error) {
        cli::print_error(error.what());
        const Diagnostic mistake{{}, {}, error.what()};
        out.text = options->json ? cli::errors_as_json(*options, {&mistake, 1}) : "";
        status = kRefused;
      }
    }
    if (status == kRefused) {
      cli::print(out.text, stdout_is_open);
      return status;
    }
    cli::write_files(out, [&] { cli::print(out.text, stdout_is_open); });
    if (!out.note.empty()) cli::note(out.note);
    return status;
  } catch (const cli::UsageError& error) {
    cli::print_error(error.what());
  } catch (const Error& error) {
    cli::print_error(error);
  } catch (const std::bad_alloc&) {
    cli::print_error("memory is exhausted");
  } catch (const std::exception& error) {
    cli::print_error(error.what());
  }
  return kRefused;
}

}  // namespace fovea
