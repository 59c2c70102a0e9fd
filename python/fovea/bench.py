"""python -m fovea.bench: attention against NumPy on this machine, as a table to paste. Takes 20 seconds.

Calls of the two, and of a loop of fused multiply-adds that shows what the machine can do, take turns; medians are compared.
"""
import argparse
import os
import platform
import statistics
import sys
import threading
import time

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "FOVEA_THREADS")
SHAPES = [((1, 16, 64), False), ((8, 128, 64), False), ((8, 512, 64), False), ((8, 512, 64), True), ((8, 1024, 64), False),
          ((4, 2048, 128), False)]


def cpu_name():
    """As /proc/cpuinfo has it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def composed(q, k, v, *, causal=False, mask=None, bias=None, scale=None):
    """Attention as one writes it in NumPy, for any leading axes; grouped heads are repeated."""
    import numpy as np
    if q.ndim == 4 and q.shape[1] != k.shape[1]:
        k, v = (np.repeat(x, q.shape[1] // x.shape[1], 1) for x in (k, v))
    s = q @ k.swapaxes(-1, -2)
    s *= q.shape[-1] ** -0.5 if scale is None else scale
    if bias is not None:
        s += bias
    if causal:
        mask = np.tri(q.shape[-2], k.shape[-2], dtype=bool)
    if mask is not None:
        s = np.where(mask, s, np.array(-np.inf, s.dtype))
    s -= s.max(-1, keepdims=True)
    np.exp(s, out=s)
    s /= s.sum(-1, keepdims=True)
    return s @ v


def clock_for(threads):
    """One thread is timed by the CPU time that it gets, in which waiting for a busy machine does not count; several by the clock."""
    return time.process_time if threads == 1 else time.perf_counter


def settle(longest=0.5):
    """Waits until all other threads of this process sleep. Workers of OpenMP, OpenBLAS and ONNX Runtime look for more work for 20 to
    100 ms after a call, and would hold a CPU of whoever is measured next."""
    mine = str(threading.get_native_id())

    def runs(task):
        try:
            with open(f"/proc/self/task/{task}/stat", "rb") as file:
                return file.read().rpartition(b")")[2].split()[0] == b"R"
        except OSError:                                     # it has ended
            return False
    end = time.perf_counter() + longest
    while any(runs(task) for task in os.listdir("/proc/self/task") if task != mine) and time.perf_counter() < end:
        time.sleep(1e-3)


def take_turns(functions, seconds, clock=time.perf_counter, least=5, sample=2e-3):
    """Median seconds of one call of each function: rounds of one sample of each, until the time is up. A sample waits until the
    others' threads sleep, makes a call that is not timed and wakes the function's own, and times as many as take `sample` seconds."""
    counts, wakes = [], []
    for function in functions:
        function()
        start = clock()
        function()
        taken = clock() - start
        counts.append(max(1, round(sample / max(taken, 1e-7))))
        wakes.append(taken < 20e-3)                         # waking threads is nothing beside a longer call
    samples = [[] for _ in functions]
    end = time.perf_counter() + seconds
    while len(samples[0]) < least or time.perf_counter() < end:
        for function, count, wake, times in zip(functions, counts, wakes, samples):
            settle()
            if wake:
                function()
            start = clock()
            for _ in range(count):
                function()
            times.append((clock() - start) / count)
    return [statistics.median(times) for times in samples]


def peak_probe(dtype="f32", seconds=1e-3):
    """A function that does a fixed number of fused multiply-adds, about so long, and that number."""
    from fovea import _core
    operations = 1e7
    while True:
        start = time.perf_counter()
        done = _core.run_fma(dtype, operations)
        taken = time.perf_counter() - start
        if taken > seconds / 4 or operations > 1e13:
            break
        operations *= 2
    operations = operations * seconds / taken
    done = _core.run_fma(dtype, operations)
    return (lambda: _core.run_fma(dtype, operations)), done


def amount(seconds):
    """`3.1 µs`, `12.4 ms`."""
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 0.9995:                      # 1000 of the next unit have four digits
            break
    return f"{seconds * factor:.3g} {unit}"


def prepare(threads):
    """Starts this program again if the libraries' numbers of threads are not what is wanted: they are read at the start."""
    wanted = dict.fromkeys(THREAD_VARIABLES, str(threads))
    environment = {**os.environ, **wanted}
    environment.pop("OPENBLAS_CORETYPE", None)              # lets NumPy's BLAS use what the machine has
    if environment != dict(os.environ):
        os.execve(sys.executable, [sys.executable, "-m", "fovea.bench", *sys.argv[1:]], environment)
    if threads < len(os.sched_getaffinity(0)):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def main():
    parser = argparse.ArgumentParser(prog="python -m fovea.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all CPUs")
    parser.add_argument("--seconds", type=float, default=20, help="for all shapes together; default 20")
    options = parser.parse_args()
    prepare(options.threads)

    import numpy as np

    import fovea

    print(f"Fovea {fovea.__version__} ({fovea._core.instruction_set()}), NumPy {np.__version__}, {cpu_name()}, "
          f"{options.threads} thread{'s' if options.threads > 1 else ''}, f32\n")
    print("| (heads, length, dim) |     NumPy |     Fovea |  ratio | % of peak |")
    print("| -------------------- | --------: | --------: | -----: | --------: |")
    probe, operations = peak_probe()
    for shape, causal in SHAPES:
        q, k, v = (np.random.default_rng(i).standard_normal(shape).astype(np.float32) for i in range(3))
        flops = 4 * shape[0] * shape[1] ** 2 * shape[2] * (0.5 if causal else 1)
        theirs, ours, peak = take_turns([lambda: composed(q, k, v, causal=causal),
                                         lambda: fovea.scaled_dot_product_attention(q, k, v, causal=causal), probe],
                                        options.seconds / len(SHAPES) * 0.9, clock_for(options.threads))
        name = str(shape) + (" causal" if causal else "")
        percent = 100 * flops / ours / (operations / peak)
        print(f"| {name:<20} | {amount(theirs):>9} | {amount(ours):>9} | {theirs / ours:>5.1f}× | {percent:>8.0f}% |", flush=True)


if __name__ == "__main__":
    main()
