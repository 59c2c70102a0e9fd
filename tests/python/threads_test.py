"""Python threads, signals and forks: the lock is released, Ctrl-C ends a long call, a child process computes."""
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import unittest

from support import SANITIZED, fovea, np

sdpa, grad = fovea.scaled_dot_product_attention, fovea.scaled_dot_product_attention_grad


def make(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def run_alone(code):
    """In a process of its own, which must end well and of itself."""
    start = f"import sys; sys.path[:0] = {sys.path!r}\nimport numpy as np\nimport fovea\n"
    subprocess.run([sys.executable, "-c", start + textwrap.dedent(code)], check=True, timeout=120)


class Threads(unittest.TestCase):
    def test_several_threads_call_at_once(self):
        q = make(2, 4, 200, 16)
        y, d = sdpa(q, q, q, causal=True), grad(q, q, q, q, causal=True)
        wrong = []

        def work():
            for _ in range(10):
                if not np.array_equal(sdpa(q, q, q, causal=True), y):
                    wrong.append("y")
                if not all(map(np.array_equal, grad(q, q, q, q, causal=True)[:3], d[:3])):
                    wrong.append("gradients")
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_first_calls_come_from_several_threads(self):
        run_alone("""
            import threading
            q, go, done = np.ones((1, 16, 64), np.float32), threading.Barrier(8), []
            def work():
                go.wait()
                done.append(fovea.scaled_dot_product_attention(q, q, q))
            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            assert len(done) == 8
            """)

    def test_the_process_ends_while_threads_compute(self):
        for shape in ((1, 16, 64), (8, 1000, 64)):
            run_alone(f"""
                import threading, time
                q = np.ones({shape}, np.float32)
                def work():
                    while True:
                        fovea.scaled_dot_product_attention(q, q, q)
                for _ in range(4):
                    threading.Thread(target=work, daemon=True).start()
                time.sleep(0.1)
                """)

    def test_other_threads_run_meanwhile(self):
        q, done = make(1, 1, 400 if SANITIZED else 3000, 64), threading.Event()
        reached = threading.Event()

        def count():                                        # needs the lock for each step
            while not done.is_set():
                time.sleep(0)
                reached.set()
        other = threading.Thread(target=count)
        other.start()
        try:
            interval = sys.getswitchinterval()
            sys.setswitchinterval(1000)                     # nobody is made to give the lock up
            try:
                time.sleep(0.01)
                for _ in range(50):
                    reached.clear()
                    sdpa(q, q, q, threads=1)
                    if reached.is_set():
                        break
                self.assertTrue(reached.is_set())
            finally:
                sys.setswitchinterval(interval)
        finally:
            done.set()
            other.join()

    def test_interrupt(self):
        class Interrupt(Exception):
            pass

        def raise_it(*_):
            raise Interrupt
        before = signal.signal(signal.SIGALRM, raise_it)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        # Long as a whole, short between two looks for signals, also on the slowest kernels.
        q = np.broadcast_to(make(1, 4, 2000, 32), (64, 4, 2000, 32))
        for function in (lambda **o: sdpa(q, q, q, **o), lambda **o: grad(q, q, q, q, **o)):
            for options in ({"threads": 1}, {}):
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                with self.assertRaises(Interrupt):
                    function(**options)
        small = q[:, :, :50]
        np.testing.assert_array_equal(sdpa(small, small, small), sdpa(small, small, small, threads=1))

    def test_a_signal_handler_computes(self):
        small, big = make(2, 100, 16), make(8, 1000, 32)
        y, expected, seen = sdpa(small, small, small), sdpa(big, big, big), []
        before = signal.signal(signal.SIGALRM, lambda *_: seen.append(np.array_equal(sdpa(small, small, small), y)))
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.06)
        try:
            while len(seen) < 3:
                for threads in (1, None):
                    np.testing.assert_array_equal(sdpa(big, big, big, threads=threads), expected)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.assertTrue(all(seen))

    def test_number_of_threads(self):
        before = fovea.num_threads()
        self.addCleanup(fovea.set_num_threads, before)
        fovea.set_num_threads(3)
        self.assertEqual(fovea.num_threads(), 3)
        q = make(2, 2, 100, 8)
        three = sdpa(q, q, q)
        fovea.set_num_threads(1)
        np.testing.assert_array_equal(sdpa(q, q, q), three)

    def test_environment(self):
        def run(threads):
            code = f"import sys; sys.path[:0] = {sys.path!r}; import fovea; print(fovea.num_threads())"
            return subprocess.run([sys.executable, "-c", code], env=dict(os.environ, FOVEA_THREADS=threads), check=False,
                                  capture_output=True, text=True)
        self.assertEqual(run("3").stdout, "3\n")
        self.assertIn("FOVEA_THREADS", run("many").stderr)


class Fork(unittest.TestCase):
    def test_a_child_computes(self):
        q = make(2, 4, 200, 16)
        y, d = sdpa(q, q, q), grad(q, q, q, q)
        child = os.fork()
        if child == 0:
            signal.alarm(60)                                # a child that hangs ends with a signal
            same = np.array_equal(sdpa(q, q, q), y) and np.array_equal(grad(q, q, q, q).dk, d.dk)
            os._exit(0 if same else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        np.testing.assert_array_equal(sdpa(q, q, q), y)

    def test_multiprocessing(self):
        import multiprocessing
        q = make(2, 4, 200, 16)
        y = sdpa(q, q, q)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            for result in pool.starmap_async(sdpa, [(q, q, q)] * 4).get(timeout=120):
                np.testing.assert_array_equal(result, y)


if __name__ == "__main__":
    unittest.main()
