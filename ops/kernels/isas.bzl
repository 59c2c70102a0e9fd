"""Compiles kernel sources once per instruction set."""

# What each set needs from the compiler, and its vector in xsimd (none: plain loops). One row here and one in kernels.cc make a new set.
ISAS = {
    "scalar": struct(arch = None, flags = []),
    "sse2": struct(arch = "xsimd::sse2", flags = ["-msse2"]),
    # On plain xsimd::avx2, xsimd::fma is a multiplication and an addition.
    "avx2": struct(arch = "xsimd::fma3<xsimd::avx2>", flags = ["-mavx2", "-mfma"]),
    "avx512": struct(arch = "xsimd::avx512bw", flags = [
        "-mavx512f",
        "-mavx512dq",
        "-mavx512bw",
        "-mavx512vl",
        "-mfma",
        "-mprefer-vector-width=512",
    ]),
}

def isa_libraries(name, srcs, deps, visibility):
    """A library `name` of all sets, and `name_objects`, the objects themselves.

    Each is optimised in every build: without inlining, functions that sets have in common (std::, xsimd::) would be
    weak symbols, of which the linker keeps any one, and AVX would leak into the code for lesser machines.
    """
    for isa, row in ISAS.items():
        native.cc_library(
            name = name + "_" + isa,
            srcs = srcs,
            # g++ 12 warns of the undefined operands inside its own AVX-512 intrinsics.
            copts = row.flags + ["-O3", "-fno-exceptions", "-fno-math-errno", "-Wno-uninitialized", "-Wno-maybe-uninitialized"] +
                    ["-DFOVEA_ISA_NAMESPACE=" + isa] +
                    (["-DFOVEA_ISA_ARCH=" + row.arch] if row.arch else []),
            linkstatic = 1,
            deps = deps,
            visibility = ["//visibility:private"],
        )
    native.cc_library(
        name = name,
        visibility = visibility,
        deps = [":" + name + "_" + isa for isa in ISAS],
    )
    native.filegroup(
        name = name + "_objects",
        srcs = [":" + name + "_" + isa for isa in ISAS],
        visibility = visibility,
    )
