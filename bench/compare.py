"""Fovea against PyTorch, ONNX Runtime, JAX and NumPy on this machine.

    python bench/compare.py                     measures: about nine minutes; prints tables, writes compare.json
    python bench/compare.py --quick             a few cases, one minute
    python bench/compare.py --from compare.json --chart bench/performance --readme README.md
                                                draws performance.svg and .png, and writes the README's table

Each configuration (1 thread or all; the machine's best instruction set, or AVX2 for all who can be told) is a process of its
own, bound to its CPUs. In it the peers take turns, call by call, with a loop of fused multiply-adds between. Medians count: of CPU
time with one thread, in which waiting for a busy machine does not count, else of the clock. Every result is first compared with
NumPy's in f64: who is wrong is not timed but reported. Who is not installed is left out.
"""
import argparse
import ctypes
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys

BEST, AVX2 = "best", "avx2"
# Results in f32 may be off by so much of 1 + the largest: a thousand roundings of numbers of that size, far below a real mistake.
TOLERANCE = {"f32": 1000 * 2.0 ** -24, "f64": 1000 * 2.0 ** -53}
AVX2_CAPS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "FOVEA_ISA": "avx2",
             "OPENBLAS_CORETYPE": "Haswell"}
NOT_CAPPED = ("ORT MultiHeadAttention", "ORT Attention")    # no setting keeps ONNX Runtime from wider instructions


# One configuration, in a process of its own.

def environment_of(threads, isa):
    environment = {key: value for key, value in os.environ.items() if key not in (*AVX2_CAPS, "XLA_FLAGS")}
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "FOVEA_THREADS", "NPROC"):
        environment[name] = str(threads)
    flags = ["--xla_cpu_multi_thread_eigen=false"] if threads == 1 else []
    if isa == AVX2:
        environment.update(AVX2_CAPS)
        flags.append("--xla_cpu_max_isa=AVX2")
    environment["XLA_FLAGS"] = " ".join(flags)
    environment["JAX_PLATFORMS"] = "cpu"
    return environment


def memory(line):
    """VmRSS or VmHWM of this process, in bytes."""
    for entry in pathlib.Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if entry.startswith(line + ":"):
            return int(entry.split()[1]) * 1024
    return 0


def memory_growth(call):
    """How much memory one call takes at its worst, beyond what its library keeps between calls."""
    ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = memory("VmRSS")
    kept = call()
    growth = memory("VmHWM") - before
    del kept
    return max(0, growth)


def wrong(case, results):
    """What is wrong with results, or nothing."""
    import numpy as np
    for name, got, true in zip(("y", "dq", "dk", "dv"), results, case.truth):
        if got.shape != true.shape or got.dtype != (np.float64 if case.dtype == "f64" else np.float32):
            return f"{name} is {got.dtype} {got.shape}"
        error = np.max(np.abs(got - true), initial=0) / (1 + np.max(np.abs(true), initial=0))
        if not error <= TOLERANCE[case.dtype]:
            return f"{name} is off by {error:.1e} of 1 + its largest element"
    return None


def installed_peers(isa):
    from compare_peers import PEERS
    peers, missing = [], {}
    for peer in PEERS:
        if isa == AVX2 and peer.name in NOT_CAPPED:
            missing[peer.name] = "cannot be kept from wider instructions"
            continue
        try:
            peers.append(peer())
        except ImportError as error:
            missing[peer.name] = str(error)
    return peers, missing


def measure_case(case, peers, threads, seconds):
    """One entry for each peer: seconds, or why there are none."""
    from fovea.bench import clock_for, peak_probe, take_turns
    entries, calls = [], []
    for peer in peers:
        entry = {"case": case.name, "pass": "forward+backward" if case.backward else "forward", "dtype": case.dtype, "peer": peer.name}
        entries.append(entry)
        try:
            call, read = peer.prepare(case, threads)
            entry["wrong"] = wrong(case, read(call()))
            if entry["wrong"]:
                continue
            entry["memory"] = memory_growth(call)
        except NotImplementedError as reason:
            entry["not"] = str(reason)
            continue
        except Exception as error:                          # pylint: disable=broad-except
            entry["not"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            continue
        calls.append((entry, call))
    probe, operations = peak_probe(case.dtype)
    *times, peak = take_turns([*(call for _, call in calls), probe], seconds, clock_for(threads))
    ours = next((time for (entry, _), time in zip(calls, times) if entry["peer"] == "Fovea"), None)
    for (entry, _), time in zip(calls, times):
        entry["seconds"] = time
        entry["ratio"] = time / ours if ours else None
        entry["percent"] = 100 * case.flops / time / (operations / peak)
    del case.__dict__["arrays"], case.__dict__["truth"]     # cached there
    return entries


def measure(threads, isa, quick, seconds):
    """This process's configuration."""
    from compare_cases import cases
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    peers, missing = installed_peers(isa)
    chosen = [case for case in cases() if case.quick or not quick]
    results = []
    for i, case in enumerate(chosen):
        print(f"\r{threads} threads, {isa}: {i + 1}/{len(chosen)} {case.name:<40}", end="", file=sys.stderr, flush=True)
        results += measure_case(case, peers, threads, seconds / len(chosen) * 0.6)
    print("\r" + " " * 79 + "\r", end="", file=sys.stderr)
    import fovea
    return {"threads": threads, "isa": isa, "fovea_isa": fovea._core.instruction_set(), "missing": missing,
            "versions": {peer.name: peer.version for peer in peers}, "results": results}


# All of them, and what is made of the results.

def run_all(options):
    from fovea.bench import cpu_name
    cpus = len(os.sched_getaffinity(0))
    configurations = [(threads, isa) for isa in (BEST, AVX2) for threads in sorted({1, cpus})]
    if options.quick:
        configurations = [(1, BEST), (cpus, BEST)] if cpus > 1 else [(1, BEST)]
    report = {"date": datetime.date.today().isoformat(), "cpu": cpu_name(), "cpus": cpus, "system": platform.platform(),
              "python": platform.python_version(), "quick": options.quick, "configurations": []}
    for threads, isa in configurations:
        command = [sys.executable, str(pathlib.Path(__file__).absolute()), "--child", str(threads), isa, str(options.seconds / len(configurations))]
        done = subprocess.run(command + (["--quick"] if options.quick else []), env=environment_of(threads, isa), check=False,
                              stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(f"compare: the measurement with {threads} threads and {isa} ended with status {done.returncode}")
        report["configurations"].append(json.loads(done.stdout.splitlines()[-1]))
    return report


def rows_of(configuration):
    """(case and pass, {peer: entry}) in order."""
    rows = {}
    for entry in configuration["results"]:
        rows.setdefault((entry["case"], entry["pass"]), {})[entry["peer"]] = entry
    return list(rows.items())


def title(configuration):
    threads = configuration["threads"]
    isa = configuration["fovea_isa"] if configuration["isa"] == BEST else "AVX2 only"
    return f"{threads} thread{'s' if threads > 1 else ''}, {isa}"


def peers_of(configuration):
    return list(dict.fromkeys(entry["peer"] for entry in configuration["results"]))


def table(configuration):
    """Markdown: Fovea's time and share of the peak, and each peer's time as a multiple of Fovea's."""
    from fovea.bench import amount
    others = [peer for peer in peers_of(configuration) if peer != "Fovea"]
    lines = ["| case | pass | Fovea | % of peak | " + " | ".join(others) + " |", "| --- | --- " + "| ---: " * (2 + len(others)) + "|"]
    for (case, direction), entries in rows_of(configuration):
        ours = entries.get("Fovea", {})
        cells = [amount(ours["seconds"]), f"{ours['percent']:.0f}"] if "seconds" in ours else ["wrong" if ours.get("wrong") else "–", "–"]
        for peer in others:
            entry = entries.get(peer, {})
            ratio = entry.get("ratio")
            cells.append("wrong" if entry.get("wrong") else "–" if ratio is None else f"{ratio:.2f}×")
        lines.append(f"| `{case}` | {direction} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def notes(configuration):
    lines = [f"{peer}: left out, {reason}" for peer, reason in configuration["missing"].items()]
    lines += [f"{e['peer']}, {e['case']}, {e['pass']}: {e.get('wrong') or e['not']}" for e in configuration["results"]
              if e.get("wrong") or e.get("not") not in (None, "no gradients", "f32 only", "no grouped heads")]
    return lines


def memory_table(configuration):
    others = peers_of(configuration)
    lines = ["| MiB that one call adds | " + " | ".join(others) + " |", "| --- " + "| ---: " * len(others) + "|"]
    for (case, direction), entries in rows_of(configuration):
        cells = [f"{entries[p]['memory'] / 2 ** 20:.1f}" if "memory" in entries.get(p, {}) else "–" for p in others]
        if any(cell not in ("–", "0.0") for cell in cells):
            lines.append(f"| `{case}` {direction} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def versions(report):
    known = {}
    for configuration in report["configurations"]:
        known.update(configuration["versions"])
    return ", ".join(f"{name} {version}" for name, version in known.items())


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
    figure, axes = plt.subplots(lines, columns, figsize=(5.2 * columns, 1.2 + lines * (0.7 + 0.2 * most)), squeeze=False,
                                layout="constrained")
    for axis in axes.flat[len(configurations):]:
        axis.remove()
    for axis, configuration in zip(axes.flat, configurations):
        rows = rows_of(configuration)
        for marker, peer in zip("soD^vPX", peers_of(configuration)):
            points = [(entries[peer]["ratio"], len(rows) - i) for i, (_, entries) in enumerate(rows)
                      if entries.get(peer, {}).get("ratio")]
            if points:
                axis.plot(*zip(*points), marker, label=peer, markersize=4)
        axis.axvline(1, color="0.6", linewidth=0.8)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}×")
        axis.set_yticks(range(len(rows), 0, -1),
                        [case + (" +backward" if "backward" in direction else "") for (case, direction), _ in rows], fontsize=7)
        axis.tick_params(axis="x", labelsize=7)
        axis.grid(axis="x", color="0.9")
        axis.set_title(title(configuration), fontsize=9)
        axis.set_xlabel("time, as a multiple of Fovea's (right of 1: slower than Fovea)", fontsize=7)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=7, fontsize=7, frameon=False)
    figure.suptitle(f"Attention, (batch, heads, length, dim) · {report['cpu']}, {report['date']}\n{versions(report)}", fontsize=8)
    for ending, metadata in (("svg", {"Date": None}), ("png", {})):
        figure.savefig(f"{path}.{ending}", dpi=130, metadata=metadata)


def section(report, image):
    """The README's text: nothing but what the report holds."""
    lines = [f"Measured on {report['date']}: {report['cpu']}, {report['cpus']} CPUs; {versions(report)}. Peers' times are "
             "multiples of Fovea's: above 1 Fovea is faster, below 1 slower. Repeat it with `python bench/compare.py`."]
    if image:
        lines += ["", f"![times of all peers]({image})"]
    for configuration in report["configurations"]:
        lines += ["", f"**{title(configuration)}**", "", table(configuration)]
        lines += ["", *(f"* {note}" for note in notes(configuration))] if notes(configuration) else []
    return "\n".join(lines)


def write_section(path, text):
    """Puts the text between the two markers."""
    begin, end = "<!-- performance: bench/compare.py -->", "<!-- end of performance -->"
    old = path.read_text(encoding="utf-8")
    if begin not in old or end not in old:
        raise SystemExit(f"compare: {path} lacks the lines {begin} and {end}")
    head, _, rest = old.partition(begin)
    path.write_text(f"{head}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few cases, best instruction set only")
    parser.add_argument("--seconds", type=float, help="for all measurements together; default 360, 40 with --quick")
    parser.add_argument("--json", type=pathlib.Path, default="compare.json", help="where results go; default compare.json")
    parser.add_argument("--from", dest="source", type=pathlib.Path, help="results to use instead of measuring")
    parser.add_argument("--chart", help="path of the chart, without .svg and .png")
    parser.add_argument("--readme", type=pathlib.Path, help="file whose performance section is written")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        threads, isa, seconds = options.child
        print(json.dumps(measure(int(threads), isa, options.quick, float(seconds))))
        return
    options.seconds = options.seconds or (40 if options.quick else 360)
    if options.source:
        report = json.loads(options.source.read_text(encoding="utf-8"))
    else:
        report = run_all(options)
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.chart:
        chart(report, options.chart)
    if options.readme:
        image = os.path.relpath(f"{options.chart}.svg", options.readme.parent) if options.chart else None
        write_section(options.readme, section(report, image))
    print(section(report, None))
    for configuration in report["configurations"]:
        print(f"\n{title(configuration)}\n\n{memory_table(configuration)}")


if __name__ == "__main__":
    main()
