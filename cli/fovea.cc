#include "fovea/cli/main.h"

int main(int argc, char** argv) { return fovea::cli_main(argc, argv, fovea::Registry::builtin()); }
