"""One archive of a library and all that it needs of ours, for builds other than Bazel's."""

def _objects_and_flags(deps):
    inputs = depset(transitive = [dep[CcInfo].linking_context.linker_inputs for dep in deps]).to_list()
    objects = []
    flags = []
    for one in inputs:
        flags += [flag for flag in one.user_link_flags if flag not in flags]
        for library in one.libraries:
            objects += library.pic_objects or library.objects or []
    return objects, flags

def _static_library_impl(ctx):
    objects, flags = _objects_and_flags(ctx.attr.deps)
    others, _ = _objects_and_flags(ctx.attr.without)
    objects = [one for one in objects if one not in others]
    archive = ctx.actions.declare_file("lib%s.a" % ctx.label.name)
    arguments = ctx.actions.args()
    arguments.add_all([archive] + depset(objects).to_list())
    ctx.actions.run_shell(
        inputs = objects,
        outputs = [archive],
        arguments = [arguments],
        # q, not r: objects of one name (a kernel for several instruction sets) do not replace each other.
        command = 'rm -f "$1" && ar qcsD "$@"',
        mnemonic = "StaticLibrary",
    )
    libraries = ctx.actions.declare_file("lib%s.libraries" % ctx.label.name)
    ctx.actions.write(libraries, "".join([flag + "\n" for flag in flags]))
    outputs = [archive, libraries]
    return [DefaultInfo(files = depset(outputs), runfiles = ctx.runfiles(outputs))]

static_library = rule(
    implementation = _static_library_impl,
    doc = "libNAME.a, and libNAME.libraries with the linker's flags for what it needs of the system, one a line.",
    attrs = {
        "deps": attr.label_list(providers = [CcInfo]),
        "without": attr.label_list(providers = [CcInfo], doc = "Libraries whose objects another archive holds."),
    },
)
