// Everything that Fovea offers to C++ programs.
#pragma once
