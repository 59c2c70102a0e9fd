"""Fovea against PyTorch, ONNX Runtime, JAX and NumPy on this machine.

From a fresh environment, at the root of the repository; seven to nine minutes with two CPUs:

    pip install -r bench/requirements.txt bazel-bin/python/wheel/*.whl
    python bench/compare.py --json bench/performance.json --chart bench/performance --readme README.md

This prints tables, and writes them, a chart (SVG and PNG) and the README's section. `--quick` measures a few cases in a minute or
two; `--from bench/performance.json` in place of measuring draws and writes what was measured before.

Each configuration (1 thread or all; the machine's best instruction set, or AVX2 for all who can be told) is a process of its
own, bound to its CPUs. In it the peers take turns, call by call, with a loop of fused multiply-adds between, whose speed is the
peak. Each waits for work between its own calls as it does by default; before another is measured, its threads have gone to sleep.
Medians count: of CPU time with one thread, in which waiting for a busy machine does not count, else of the clock. Every result is
first compared with NumPy's in f64: who is wrong is not timed but reported. Who is not installed is left out.
"""
import argparse
import ctypes
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

from compare_report import AVX2, BEST, chart, full_table, notes, section, title, write_section

# Results in f32 may be off by so much of 1 + the largest: a thousand roundings of numbers of that size, far below a real mistake.
TOLERANCE = {"f32": 1000 * 2.0 ** -24, "f64": 1000 * 2.0 ** -53}
AVX2_CAPS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "FOVEA_ISA": "avx2",
             "OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"}
NOT_CAPPED = ("ONNX Runtime", "JAX")                        # MLAS and YNNPACK take AVX-512 whatever is set


# One configuration, in a process of its own.

def environment_of(threads, isa):
    environment = {key: value for key, value in os.environ.items() if key not in (*AVX2_CAPS, "XLA_FLAGS")}
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "FOVEA_THREADS", "NPROC"):
        environment[name] = str(threads)
    if isa == AVX2:
        environment.update(AVX2_CAPS)
    environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false" if threads == 1 else ""
    environment["JAX_PLATFORMS"] = "cpu"
    return environment


def memory(line):
    """VmRSS or VmHWM of this process, in bytes."""
    for entry in pathlib.Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if entry.startswith(line + ":"):
            return int(entry.split()[1]) * 1024
    return 0


def memory_growth(call):
    """How much memory one call takes at its worst, beyond what its library keeps between calls; None where Linux does not say."""
    ctypes.CDLL(None).malloc_trim(0)
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    before = memory("VmRSS")
    kept = call()
    growth = memory("VmHWM") - before
    del kept
    return max(0, growth)


def wrong(case, results):
    """What is wrong with results, or nothing."""
    import numpy as np
    if len(results) != len(case.truth):
        return f"{len(results)} results in place of {len(case.truth)}"
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
        if isa == AVX2 and peer.library in NOT_CAPPED:
            missing[peer.library] = "no setting keeps it from wider instructions"
            continue
        try:
            peers.append(peer())
        except ImportError as error:
            missing[peer.library] = str(error)
    return peers, missing


def measure_case(case, peers, threads, seconds):
    """One entry for each peer: seconds, or why there are none. And the peak that was measured meanwhile, in operations per second."""
    from fovea.bench import clock_for, peak_probe, take_turns
    entries, calls = [], []
    for peer in peers:
        entry = {"case": case.name, "dtype": case.dtype, "peer": peer.name}
        entries.append(entry)
        try:
            call, read = peer.prepare(case, threads)
            entry["wrong"] = wrong(case, read(call()))
            if entry["wrong"]:
                remark = getattr(peer, "remarks", {}).get(case.dtype)
                entry["wrong"] += f" ({remark})" if remark else ""
                continue
            entry["memory"] = memory_growth(call)
        except NotImplementedError as reason:
            entry["lacks"] = str(reason)
            continue
        except Exception as error:                          # pylint: disable=broad-except
            entry["failed"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            continue
        calls.append((entry, call))
    probe, operations = peak_probe(case.dtype)
    large = case.flops > 1e10
    *times, peak = take_turns([*(call for _, call in calls), probe], seconds, clock_for(threads), least=3 if large else 5)
    ours = next((taken for (entry, _), taken in zip(calls, times) if entry["peer"] == "Fovea"), None)
    for (entry, _), taken in zip(calls, times):
        entry["seconds"] = taken
        entry["ratio"] = taken / ours if ours else None
        entry["percent"] = 100 * case.flops / taken / (operations / peak)
    del case.__dict__["arrays"], case.__dict__["truth"]     # cached there
    return entries, operations / peak


def busy_seconds():
    """CPU time of everybody, and of this process, until now."""
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK"), time.process_time()


def progress(text, end):
    """On a terminal in place, else line after line."""
    print(f"\r{text:<100}" if sys.stderr.isatty() else text, end=end if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)


def measure(threads, isa, quick, seconds):
    """This process's configuration."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    from compare_cases import cases
    peers, missing = installed_peers(isa)
    chosen = [case for case in cases() if case.quick or not quick]
    results, peaks, start, before = [], {}, time.perf_counter(), busy_seconds()
    name = f"{threads} thread{'s' if threads > 1 else ''}, {isa}"
    for i, case in enumerate(chosen):
        progress(f"{name}: {i + 1}/{len(chosen)} {case.name}, {time.perf_counter() - start:.0f} s", "")
        entries, peak = measure_case(case, peers, threads, seconds / len(chosen))
        results += entries
        peaks.setdefault(case.dtype, []).append(peak / 1e9)
    elapsed = time.perf_counter() - start
    everybody, ours = (after - then for after, then in zip(busy_seconds(), before))
    others = 100 * max(0, everybody - ours) / elapsed / os.cpu_count()
    progress(f"{name}: {len(chosen)} cases in {elapsed:.0f} s", "\n")
    import fovea
    return {"threads": threads, "isa": isa, "fovea_isa": fovea._core.instruction_set(), "others_percent": round(others, 1), "missing": missing,
            "peak_gflops": {dtype: round(statistics.median(all), 1) for dtype, all in peaks.items()},
            "versions": {peer.library: peer.version for peer in peers}, "results": results}


def run_all(options):
    """The report. One configuration that ends badly does not take the others' results with it."""
    import fovea
    from fovea.bench import cpu_name
    cpus = len(os.sched_getaffinity(0))
    isas = [BEST, AVX2] if fovea._core.instruction_set() == "avx512" and not options.quick else [BEST]
    configurations = [(threads, isa) for isa in isas for threads in sorted({1, cpus})]
    report = {"date": datetime.date.today().isoformat(), "cpu": cpu_name(), "cpus": cpus, "system": platform.platform(),
              "python": platform.python_version(), "quick": options.quick, "configurations": []}
    start = time.perf_counter()
    for threads, isa in configurations:
        command = [sys.executable, str(pathlib.Path(__file__).absolute()), "--child", str(threads), isa, str(options.seconds / len(configurations))]
        done = subprocess.run(command + (["--quick"] if options.quick else []), env=environment_of(threads, isa), check=False,
                              stdout=subprocess.PIPE, text=True)
        if done.returncode == 0:
            report["configurations"].append(json.loads(done.stdout.splitlines()[-1]))
        else:
            progress(f"compare: {threads} threads, {isa}: ended with status {done.returncode}; left out", "\n")
        report["minutes"] = round((time.perf_counter() - start) / 60, 1)
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if not report["configurations"]:
        raise SystemExit("compare: nothing could be measured")
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few cases, best instruction set only")
    parser.add_argument("--seconds", type=float, help="for taking turns in all configurations together, without the preparations; "
                        "default 200, 40 with --quick")
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
    options.seconds = options.seconds or (40 if options.quick else 200)
    if options.source:
        report = json.loads(options.source.read_text(encoding="utf-8"))
    else:
        report = run_all(options)
    if options.chart:
        chart(report, options.chart)
    if options.readme:
        image = os.path.relpath(f"{options.chart}.svg", options.readme.parent) if options.chart else None
        write_section(options.readme, section(report, image))
    print(section(report, None))
    for configuration in report["configurations"]:
        peaks = ", ".join(f"{peak:.0f} GFLOP/s in {dtype}" for dtype, peak in configuration.get("peak_gflops", {}).items())
        print(f"\n{title(configuration)}{'; peak ' + peaks if peaks else ''}\n\n{full_table(configuration)}\n")
        print("\n".join(notes(configuration)))


if __name__ == "__main__":
    main()
