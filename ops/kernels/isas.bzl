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

_FLAGS = [
    "-O3",
    "-fno-exceptions",
    "-fno-math-errno",
    # g++ 12 warns of the undefined operands inside its own AVX-512 intrinsics.
    "-Wno-uninitialized",
    "-Wno-maybe-uninitialized",
    # A sanitizer sees every load and store of memory; vectors, which live in registers, would cost it a minute for each file.
    "--param=asan-stack=0",
    "--param=asan-instrumentation-with-call-threshold=0",
    "-fno-sanitize=null,alignment,object-size,pointer-overflow,vptr",
]

def isa_libraries(name, srcs, deps, visibility):
    """A library `name` of all sets, and `name_objects`, the objects themselves.

    Each is optimised in every build: without inlining, functions that sets have in common (std::, xsimd::) would be
    weak symbols, of which the linker keeps any one, and AVX would leak into the code for lesser machines.
    """
    for isa, row in ISAS.items():
        native.cc_library(
            name = name + "_" + isa,
            srcs = srcs,
            copts = row.flags + _FLAGS + ["-DFOVEA_ISA_NAMESPACE=" + isa] +
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
