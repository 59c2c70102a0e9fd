# Sourced by the other tools: makes sure that the system has what Fovea is built with.
#
#   fovea_setup [--no-install]      exit status 1 when something is missing and may not, or cannot, be installed

# Debian's packages, each with its reason. Bazel is 4.2.3 there and needs its rules from packages, too.
FOVEA_PACKAGES=(
  bazel-bootstrap bazel-platforms bazel-rules-java bazel-rules-proto bazel-skylib  # the build
  g++ python3 python-is-python3                                                    # compiler; generators and tests
  libxsimd-dev libfmt-dev nlohmann-json3-dev libzip-dev libcli11-dev               # libraries
  pybind11-dev python3-dev                                                         # the Python module
  doctest-dev binutils python3-numpy                                               # tests
  graphviz python3-jsonschema                                                      # tests: pictures, and a validator, of models
  cmake make pkg-config                                                            # the test of tools/install
  libbenchmark-dev                                                                 # measurements
)

fovea_missing() {
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

fovea_setup() {
  local missing sudo=
  if ! command -v dpkg-query >/dev/null; then
    local tool absent=()
    for tool in bazel g++ python3; do command -v $tool >/dev/null || absent+=("$tool"); done
    if [ ${#absent[@]} -gt 0 ]; then
      echo "Fovea needs, and this system lacks: ${absent[*]}. Only Debian's packages can be installed from here; on another" \
           "system install Bazel, g++ 12 or later, Python 3, xsimd, fmt, oneTBB, nlohmann/json, libzip, CLI11 and doctest." >&2
      return 1
    fi
    return 0
  fi
  missing=$(fovea_missing "${FOVEA_PACKAGES[@]}")
  [ -n "$missing" ] || return 0
  missing=$(echo $missing)
  if [ "${1-}" = --no-install ]; then
    echo "Missing packages: $missing. Install them (apt-get install $missing), or leave --no-install out." >&2
    return 1
  fi
  if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Missing packages: $missing. Installing them needs root, or sudo." >&2
      return 1
    fi
    sudo=sudo
  fi
  echo "Installing from the system's packages: $missing" >&2
  $sudo apt-get -qq update >&2 &&
    DEBIAN_FRONTEND=noninteractive $sudo apt-get -qq install -y --no-install-recommends $missing >/dev/null
}
