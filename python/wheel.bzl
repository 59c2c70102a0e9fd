"""The rule that makes the wheel: its file's name depends on what is in it, so the output is a folder of one file."""

def _wheel(ctx):
    out = ctx.actions.declare_directory(ctx.label.name)
    package = ctx.files.package
    ctx.actions.run_shell(
        outputs = [out],
        inputs = package + [ctx.file.script, ctx.file.version_header, ctx.file.license],
        command = "exec /usr/bin/python3 \"$@\"",
        arguments = [
            ctx.file.script.path,
            "--python",
            ctx.attr.python_tag,
            "--version-header",
            ctx.file.version_header.path,
            "--license",
            ctx.file.license.path,
            "--out",
            out.path,
        ] + [file.path for file in package],
        mnemonic = "Wheel",
        use_default_shell_env = True,
    )
    return [DefaultInfo(files = depset([out]), runfiles = ctx.runfiles([out]))]

wheel = rule(
    implementation = _wheel,
    attrs = {
        "package": attr.label_list(allow_files = True),
        "python_tag": attr.string(mandatory = True),
        "version_header": attr.label(allow_single_file = True, mandatory = True),
        "license": attr.label(allow_single_file = True, mandatory = True),
        "script": attr.label(allow_single_file = True, mandatory = True),
    },
)
