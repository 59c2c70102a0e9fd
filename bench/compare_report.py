"""What bench/compare.py makes of its measurements: tables, the README's section, the chart."""

BEST, AVX2 = "best", "avx2"
INSTRUCTIONS = {"avx512": "AVX-512", "avx2": "AVX2", "sse2": "SSE2", "scalar": "scalar code"}


def rows_of(configuration):
    """(case, {peer: entry}) in order."""
    rows = {}
    for entry in configuration["results"]:
        rows.setdefault(entry["case"], {})[entry["peer"]] = entry
    return list(rows.items())


def title(configuration):
    threads = configuration["threads"]
    isa = configuration["fovea_isa"]
    return f"{threads} thread{'s' if threads > 1 else ''}, {INSTRUCTIONS.get(isa, isa)}" + (" only" if configuration["isa"] == AVX2 else "")


def peers_of(configuration):
    return list(dict.fromkeys(entry["peer"] for entry in configuration["results"]))


def table(configuration):
    """Markdown: Fovea's time and share of the peak, and each peer's time as a multiple of Fovea's, bold where it is faster."""
    from fovea.bench import amount
    others = [peer for peer in peers_of(configuration) if peer != "Fovea"]
    lines = ["| case | Fovea | of peak | " + " | ".join(others) + " |", "| --- " + "| ---: " * (2 + len(others)) + "|"]
    for case, entries in rows_of(configuration):
        ours = entries.get("Fovea", {})
        cells = [amount(ours["seconds"]), f"{ours['percent']:.0f} %"] if "seconds" in ours else ["wrong" if ours.get("wrong") else "–", "–"]
        for peer in others:
            entry = entries.get(peer, {})
            ratio = entry.get("ratio")
            text = "wrong" if entry.get("wrong") else "–" if ratio is None else f"{ratio:.2f}×"
            cells.append(f"**{text}**" if ratio is not None and ratio < 1 else text)
        lines.append(f"| `{case}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def losses(configuration):
    """One sentence: in how many cases somebody is faster than Fovea, and who."""
    rows = [(case, {peer: entry["ratio"] for peer, entry in entries.items() if entry.get("ratio")}) for case, entries in rows_of(configuration)]
    rows = [(case, ratios) for case, ratios in rows if "Fovea" in ratios and len(ratios) > 1]
    lost = [f"{min(ratios, key=ratios.get)} in `{case}` ({min(ratios.values()):.2f}×)" for case, ratios in rows if min(ratios.values()) < 1]
    text = f"Fovea is the fastest in {len(rows) - len(lost)} of {len(rows)} cases"
    return text + ("; faster are " + ", ".join(lost) if lost else "") + "."


def notes(configuration):
    """Who is left out, and in which cases who is wrong or failed; what a library does not have is a dash in the table."""
    others = configuration.get("others_percent", 0)
    lines = [f"Other programs had {others:.0f} % of the CPUs meanwhile: these figures are unsteady."] if others > 5 else []
    lines += [f"{library} is left out: {reason}." for library, reason in configuration["missing"].items()]
    for entry in configuration["results"]:
        if entry.get("wrong") or entry.get("failed"):
            verb = "is wrong and not timed" if entry.get("wrong") else "failed"
            lines.append(f"{entry['peer']} {verb} in `{entry['case']}`: {entry.get('wrong') or entry['failed']}.")
    return lines


def full_table(configuration):
    """Markdown: all that was measured, one line for each peer of a case. The memory is what one call takes at its worst beyond what
    its library keeps between calls."""
    from fovea.bench import amount
    lines = ["| case | peer | time | of Fovea's | of peak | memory |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    for case, entries in rows_of(configuration):
        for peer, entry in entries.items():
            if "seconds" in entry:
                ratio = "–" if entry["ratio"] is None else f"{entry['ratio']:.2f}×"
                grown = f"{entry['memory'] / 2 ** 20:.1f} MiB" if entry.get("memory") is not None else "–"
                cells = [amount(entry["seconds"]), ratio, f"{entry['percent']:.0f} %", grown]
            else:
                cells = ["wrong" if entry.get("wrong") else "failed" if entry.get("failed") else entry["lacks"], "", "", ""]
            lines.append(f"| `{case}` | {peer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def versions(report):
    known = {}
    for configuration in report["configurations"]:
        known.update(configuration["versions"])
    return [f"{name} {version}" for name, version in known.items()]


def chart(report, path):
    """Times of all peers as multiples of Fovea's, one panel for each configuration."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    matplotlib.rcParams["svg.hashsalt"] = "fovea"           # the same drawing for the same figures
    configurations = report["configurations"]
    most = max(len(rows_of(c)) for c in configurations)
    columns = min(2, len(configurations))
    lines = -(-len(configurations) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(3 + 4 * columns, 1.4 + lines * (0.7 + 0.18 * most)), squeeze=False,
                                sharex=True, layout="constrained")
    for axis in axes.flat[len(configurations):]:
        axis.remove()
    handles = {}
    for i, (axis, configuration) in enumerate(zip(axes.flat, configurations)):
        rows = rows_of(configuration)
        for j, peer in enumerate(peer for c in configurations[:1] for peer in peers_of(c)):
            points = [(entries[peer]["ratio"], len(rows) - row) for row, (_, entries) in enumerate(rows)
                      if entries.get(peer, {}).get("ratio")]
            if points:
                [handles[peer]] = axis.plot(*zip(*points), "soD^vPX"[j % 7], color=f"C{j}", label=peer, markersize=4.5, alpha=0.9)
        axis.axvline(1, color="0.5", linewidth=0.8, zorder=0)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}×")
        axis.set_yticks(range(len(rows), 0, -1), [case for case, _ in rows] if i % columns == 0 else [""] * len(rows), fontsize=8)
        axis.tick_params(axis="x", labelsize=8, labelbottom=True)
        axis.grid(color="0.92")
        axis.set_axisbelow(True)
        axis.set_title(title(configuration), fontsize=10)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3 * columns, fontsize=9, frameon=False)
    parts = [f"{report['cpu']}, {report['cpus']} CPUs", report["date"], *versions(report)]
    figure.suptitle("Attention (batch, heads, length, dim): time of one call as a multiple of Fovea's\n"
                    "right of 1 slower than Fovea, left of 1 faster\n" + wrapped(parts, 40 + 50 * columns), fontsize=9)
    for ending, metadata in (("svg", {"Date": None}), ("png", {})):
        figure.savefig(f"{path}.{ending}", dpi=130, metadata=metadata)
    plt.close(figure)


def wrapped(parts, width):
    """The parts with commas between, in lines of about this width."""
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += (", " if lines[-1] else "") + part
    return ",\n".join(lines)


def section(report, image):
    """The README's text: nothing but what the report holds. The first table is seen at once, the others are unfolded."""
    minutes = f" (minutes: {report['minutes']:.0f})" if "minutes" in report else ""
    quick = " --quick" if report.get("quick") else ""
    lines = [f"Measured on {report['date']}: {report['cpu']}, {report['cpus']} CPUs; {', '.join(versions(report))}. Medians of calls that take "
             "turns; peers' times are multiples of Fovea's: above 1 Fovea is faster, **below 1** slower. Cases are "
             "`(batch, heads, length, dim)`, with the heads of keys after a stroke and the length of keys after that of queries where they "
             f"differ. `python bench/compare.py{quick}` repeats it{minutes}."]
    if image:
        lines += ["", f"![times of all peers]({image})"]
    for i, configuration in enumerate(report["configurations"]):
        lines += ["", f"**{title(configuration)}.** {losses(configuration)}", ""]
        body = [table(configuration), *(["", *(f"* {note}" for note in notes(configuration))] if notes(configuration) else [])]
        lines += body if i == 0 else ["<details><summary>Table</summary>", "", *body, "", "</details>"]
    return "\n".join(lines)


def write_section(path, text):
    """Puts the text between the two markers."""
    begin, end = "<!-- performance: bench/compare.py -->", "<!-- end of performance -->"
    old = path.read_text(encoding="utf-8")
    if begin not in old or end not in old:
        raise SystemExit(f"compare: {path} lacks the lines {begin} and {end}")
    head, _, rest = old.partition(begin)
    path.write_text(f"{head}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")
