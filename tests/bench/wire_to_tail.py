"""From the write of a frame by the client to its line in `km tail`, as another program reads it.

The baseline is from the wire to the store, measured in turns: what tail adds is what it looks too late, and its line.
"""

import random
import subprocess
import time
from contextlib import closing

from bench.figures import MILLISECOND_NS, Figure, milliseconds, percentile
from bench.sessions import Run
from bench.wire_to_store import Prober

TARGET_NS = 300 * MILLISECOND_NS


class TailProber(Prober):
    """A session of ours, and a `km tail` that follows it."""

    def __init__(self, run: Run, km: str) -> None:
        super().__init__(run)
        self.probe_ns()
        self.tail = subprocess.Popen(
            [km, "tail", "--json", "--method", "bench/*"], env=run.environment(), stdout=subprocess.PIPE, bufsize=0
        )
        self.await_line()  # of what went before

    def close(self) -> None:
        self.tail.terminate()
        self.tail.wait()
        super().close()

    def await_line(self) -> None:
        """Return once tail has printed the last probe."""
        assert self.tail.stdout is not None
        while f'"bench/probe-{self.sent}"'.encode() not in self.tail.stdout.readline():
            pass

    def tail_ns(self) -> int:
        """Send one request and return how long its line took to appear."""
        self.sent += 1
        start_ns = time.monotonic_ns()
        self.to_server.write(b'{"jsonrpc":"2.0","id":%d,"method":"bench/probe-%d"}\n' % (self.sent, self.sent))
        self.await_line()
        took_ns = time.monotonic_ns() - start_ns
        self.from_server.readline()
        return took_ns


def measure(run: Run) -> list[Figure]:
    """Probe tail and store in turns."""
    km = run.programs.km
    if km is None:
        return []
    with closing(TailProber(run, km)) as prober:
        tail_ns, store_ns = [], []
        for _ in range(run.pick(60, 10)):
            time.sleep(random.uniform(0.0, 0.15))
            tail_ns.append(prober.tail_ns())
            time.sleep(random.uniform(0.0, 0.15))
            store_ns.append(prober.probe_ns())
            prober.await_line()
    p50_ns, p95_ns, base_ns = percentile(tail_ns, 50), percentile(tail_ns, 95), percentile(store_ns, 50)
    return [
        Figure(
            what="wire to km tail, p50 / p95",
            value=f"{milliseconds(p50_ns)} / {milliseconds(p95_ns)}",
            baseline=f"wire to store {milliseconds(base_ns)}",
            ratio=p50_ns / base_ns,
            target=f"p95 ≤ {milliseconds(TARGET_NS)}",
            is_met=p95_ns <= TARGET_NS,
        )
    ]
