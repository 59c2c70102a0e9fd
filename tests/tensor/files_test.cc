#include "fovea/tensor/files.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <stdexcept>

#include "fovea/tensor/atomic_write.h"
#include "fovea/tensor/npy.h"
#include "tests/tensor/scratch.h"

namespace fovea {
namespace {

const std::vector<std::string> kNames{"x.npz", "x.safetensors", "x.json"};

NamedTensors some_tensors() {
  return {{"w", Tensor::from<float>({1, 2, 3, 4, 5, 6}, {2, 3}).transpose({1, 0})},
          {"n", Tensor::from<std::int64_t>({-1, 7}, {2})},
          {"m", Tensor::from<bool>({true, false, true}, {3})},
          {"d", Tensor::scalar(f64, 0.1)}};
}

void check_equal(const NamedTensors& a, const NamedTensors& b) {
  REQUIRE(a.size() == b.size());
  for (const auto& [name, tensor] : a) CHECK(equal_bits(tensor, b.at(name)));
}

TEST_CASE("files: the ending chooses the format") {
  const Scratch scratch;
  for (const std::string& name : kNames) {
    save_tensors(scratch.path(name), some_tensors());
    check_equal(load_tensors(scratch.path(name)), some_tensors());
  }
  CHECK(scratch.files() == 3);
  for (const std::string name : {"x.csv", "x", "x.npz ", "npz", "x.JSON.txt"}) {
    const std::string file = scratch.path(name);
    const std::string expected =
        file + ": an unknown ending; .npz, .safetensors or .json is required";
    CHECK(error_of([&] { load_tensors(file); }) == expected);
    CHECK(error_of([&] { save_tensors(file, some_tensors()); }) == expected);
  }
  for (const std::string name : {"x.npy", "x.pt"}) {
    CHECK(contains(error_of([&] { load_tensors(name); }), name == "x.pt" ? "save_file" : "savez"));
  }
}

TEST_CASE("files: plain JSON numbers take the wanted dtype") {
  const Scratch scratch;
  const std::string file = scratch.put("x.json", R"({"a": 1, "b": 1})");
  const NamedTensors tensors = load_tensors(
      file, [](std::string_view name) { return name == "a" ? std::optional(i64) : std::nullopt; });
  CHECK(tensors.at("a").dtype() == i64);
  CHECK(tensors.at("b").dtype() == f64);
}

TEST_CASE("files: what is no regular file is refused at once") {
  const Scratch scratch;
  for (const std::string& name : kNames) {
    const std::string file = scratch.path(name);
    CHECK(error_of([&] { load_tensors(file); }) ==
          file + ": cannot be read: No such file or directory");
    REQUIRE(::mkfifo(file.c_str(), 0600) == 0);
    CHECK(contains(error_of([&] { load_tensors(file); }), ": a pipe; a regular file is required"));
    CHECK(contains(error_of([&] { save_tensors(file, some_tensors()); }), ": a pipe; a regular"));
    REQUIRE(::unlink(file.c_str()) == 0);
    REQUIRE(::mkdir(file.c_str(), 0700) == 0);
    CHECK(
        contains(error_of([&] { load_tensors(file); }), ": a folder; a regular file is required"));
    CHECK(contains(error_of([&] { save_tensors(file, some_tensors()); }), ": a folder; a regular"));
    REQUIRE(::rmdir(file.c_str()) == 0);
    REQUIRE(::symlink("/dev/zero", file.c_str()) == 0);
    CHECK(
        contains(error_of([&] { load_tensors(file); }), ": a device; a regular file is required"));
    CHECK(contains(error_of([&] { save_tensors(file, some_tensors()); }), ": a device; a regular"));
    CHECK(contains(error_of([&] { load_tensors(file + "/" + name); }), "cannot be read: "));
    CHECK(contains(error_of([&] { save_tensors(scratch.path("no/") + name, {}); }),
                   "cannot be written: No such file or directory"));
    CHECK(contains(error_of([&] { load_tensors(file + '\0' + ".npz"); }), "NUL"));
  }
  CHECK_FALSE(error_of([] { load_npy("/dev/zero"); }).empty());
  CHECK_FALSE(error_of([] { load_npy(""); }).empty());
}

TEST_CASE("files: writing replaces a file and follows links") {
  const Scratch scratch;
  for (const std::string& name : kNames) {
    const std::string file = scratch.put("old-" + name, "before");
    const std::string link = scratch.path(name);
    REQUIRE(::symlink(("old-" + name).c_str(), link.c_str()) == 0);
    save_tensors(link, some_tensors());
    check_equal(load_tensors(file), some_tensors());
    CHECK(std::filesystem::is_symlink(link));
  }
  REQUIRE(::symlink("nowhere", scratch.path("y.npz").c_str()) == 0);
  CHECK(contains(error_of([&] { save_tensors(scratch.path("y.npz"), {}); }), "a link to nothing"));
}

TEST_CASE("files: a new file has the permissions that others have") {
  const Scratch scratch;
  const mode_t before = ::umask(0027);
  for (const std::string& name : kNames) {
    save_tensors(scratch.path(name), some_tensors());
    struct stat status {};
    REQUIRE(::stat(scratch.path(name).c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0640);
  }
  ::umask(before);
}

// Runs `test` in a child, in which files cannot grow beyond `bytes`; true if it returns true.
bool in_child_with_file_limit(rlim_t bytes, const std::function<bool()>& test) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{bytes, bytes};
    ::signal(SIGXFSZ, SIG_IGN);
    const bool limited = ::setrlimit(RLIMIT_FSIZE, &limit) == 0;
    bool good = false;
    try {
      good = limited && test();
    } catch (...) {
    }
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_CASE("files: a write that fails leaves nothing behind") {
  const Scratch scratch;
  const Tensor large = Tensor::zeros(f64, {100, 1000});
  for (const std::string& name : kNames) {
    INFO(name);
    const std::string file = scratch.put(name, "before");
    for (rlim_t limit : {0, 100, 70'000}) {
      CHECK(in_child_with_file_limit(limit, [&] {
        const std::string error = error_of([&] { save_tensors(file, {{"a", large}}); });
        return contains(error, file + ": cannot be written: ") && contains(error, "File too large");
      }));
    }
    CHECK(Scratch::get(file) == "before");
  }
  CHECK(scratch.files() == kNames.size());
}

TEST_CASE("atomic_write: all or nothing") {
  const Scratch scratch;
  const std::string file = scratch.put("x.svg", "before");
  const std::string part(50'000, 'p');
  CHECK_THROWS_AS(atomic_write(file,
                               [&](FileWriter& out) {
                                 out.write(part);
                                 out.write(part);
                                 CHECK(Scratch::get(file) == "before");
                                 throw std::runtime_error("stop");
                               }),
                  std::runtime_error);
  CHECK(Scratch::get(file) == "before");
  CHECK(scratch.files() == 1);
  atomic_write(file, [&](FileWriter& out) {
    for (int i = 0; i < 5; ++i) out.write(part);
    out.write("end");
  });
  CHECK(Scratch::get(file) == part + part + part + part + part + "end");
  atomic_write(file, [](FileWriter&) {});
  CHECK(Scratch::get(file).empty());
  CHECK(scratch.files() == 1);
}

// Files from strangers: every byte missing, added or changed.
struct Format {
  std::string name;
  std::function<void(const std::string&)> load;
};

class Corruption {
 public:
  Corruption() {
    const auto load = [](const std::string& file) { load_tensors(file); };
    for (const std::string& name : kNames) {
      save_tensors(scratch.path(name), some_tensors());
      formats.push_back({name, load});
    }
    save_npy(scratch.path("x.npy"), some_tensors().at("w"));
    formats.push_back({"x.npy", [](const std::string& file) { load_npy(file); }});
  }

  // "" after a valid load; anything but a fovea::Error passes through and fails the test.
  std::string error(const Format& format, std::string_view bytes) const {
    const std::string file = scratch.put("bad-" + format.name, bytes);
    const std::string text = error_of([&] { format.load(file); });
    if (!text.empty()) CHECK(text.starts_with(file + ":"));
    return text;
  }

  Scratch scratch;
  std::vector<Format> formats;
};

TEST_CASE("files: cut anywhere, they are refused") {
  const Corruption corruption;
  for (const Format& format : corruption.formats) {
    const std::string bytes = Scratch::get(corruption.scratch.path(format.name));
    CHECK(corruption.error(format, bytes).empty());
    // JSON does not need its last newline.
    const std::size_t whole = format.name == "x.json" ? bytes.size() - 1 : bytes.size();
    for (std::size_t length = 0; length < whole; ++length) {
      INFO(format.name, " cut to ", length);
      CHECK_FALSE(corruption.error(format, std::string_view(bytes).substr(0, length)).empty());
    }
  }
}

TEST_CASE("files: with one byte more, they are refused") {
  const Corruption corruption;
  for (const Format& format : corruption.formats) {
    const std::string bytes = Scratch::get(corruption.scratch.path(format.name));
    for (const char byte : {'\0', 'x'}) {
      INFO(format.name);
      CHECK_FALSE(corruption.error(format, bytes + byte).empty());
      CHECK_FALSE(corruption.error(format, byte + bytes).empty());
    }
  }
}

TEST_CASE("files: with any byte changed, they load or are refused") {
  const Corruption corruption;
  for (const Format& format : corruption.formats) {
    const std::string bytes = Scratch::get(corruption.scratch.path(format.name));
    std::size_t refused = 0;
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      for (int change : {0x01, 0x10, 0x80, 0xff}) {
        std::string changed = bytes;
        changed[at] = static_cast<char>(changed[at] ^ change);
        refused += corruption.error(format, changed).empty() ? 0 : 1;
      }
    }
    CHECK(refused > bytes.size());
  }
}

}  // namespace
}  // namespace fovea
