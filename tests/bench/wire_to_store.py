"""From the write of a frame by the client to its row in the store, seen by another connection.

The baseline is one durable commit of one row in the same folder: no recorder can be faster.
"""

import random
import subprocess
import threading
import time
from contextlib import closing

from bench.figures import MILLISECOND_NS, Figure, milliseconds, percentile
from bench.sessions import LoadClient, Run
from bench.store_reader import BareStore, StoreReader

TARGET_NS = 150 * MILLISECOND_NS
POLL_S = 0.001
LIMIT_S = 5.0
BACKGROUND_GAP_US = 4_000


class Prober:
    """A session of ours through km; each probe is a request with a method of its own."""

    def __init__(self, run: Run) -> None:
        command = [*run.programs.wrappers("km")["km"], run.programs.echo_server]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=run.environment(), bufsize=0
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.to_server, self.from_server = self.process.stdin, self.process.stdout
        self.reader = StoreReader(run.store)
        self.sent = 0

    def close(self) -> None:
        self.to_server.close()
        self.from_server.read()
        self.process.wait()
        self.reader.close()

    def probe_ns(self) -> int:
        """Send one request and return how long its row took to appear."""
        self.sent += 1
        method, after_id = f"bench/probe-{self.sent}", self.reader.last_id()
        frame = f'{{"jsonrpc":"2.0","id":{self.sent},"method":"{method}","params":{{}}}}\n'
        start_ns = time.monotonic_ns()
        self.to_server.write(frame.encode())
        while not self.reader.has_method(method, after_id=after_id):
            if time.monotonic_ns() - start_ns > LIMIT_S * 1e9:
                raise RuntimeError(f"{method} is not in the store after {LIMIT_S:.0f} s")
            time.sleep(POLL_S)
        took_ns = time.monotonic_ns() - start_ns
        self.from_server.readline()
        return took_ns


def measure(run: Run) -> list[Figure]:
    """Probe while nothing else happens, then beside a busy session."""
    clients = run.start_clients(200, "km")
    if not clients:
        return []
    clients["km"].round_trips_ns(1)
    run.recorder_pid()
    run.settle()
    probes = run.pick(50, 10)
    with closing(Prober(run)) as prober, closing(BareStore(run.home / "bare.db")) as bare:
        prober.probe_ns()
        quiet = take_probes(prober, bare, probes)
        with_traffic = take_probes_beside(clients["km"], prober, bare, probes)
    return [compare("alone", *quiet), compare("beside 250 calls/s", *with_traffic)]


def take_probes(prober: Prober, bare: BareStore, count: int) -> tuple[list[int], list[int]]:
    """Return the nanoseconds of *count* probes and of as many bare commits, in turns."""
    probes_ns, commits_ns = [], []
    for _ in range(count):
        # At any time of a commit interval, not always just after one.
        time.sleep(random.uniform(0.0, 0.15))
        probes_ns.append(prober.probe_ns())
        start_ns = time.monotonic_ns()
        bare.add([(start_ns, "bench", b"x" * 200)])
        commits_ns.append(time.monotonic_ns() - start_ns)
    return probes_ns, commits_ns


def take_probes_beside(client: LoadClient, prober: Prober, bare: BareStore, count: int) -> tuple[list[int], list[int]]:
    """Take probes while *client* makes calls."""
    is_over = threading.Event()

    def call_on() -> None:
        while not is_over.is_set():
            client.round_trips_ns(50, gap_us=BACKGROUND_GAP_US)

    caller = threading.Thread(target=call_on)
    caller.start()
    try:
        return take_probes(prober, bare, count)
    finally:
        is_over.set()
        caller.join()


def compare(title: str, probes_ns: list[int], commits_ns: list[int]) -> Figure:
    """Judge the slowest twentieth."""
    p50_ns, p95_ns, commit_ns = percentile(probes_ns, 50), percentile(probes_ns, 95), percentile(commits_ns, 50)
    return Figure(
        what=f"wire to store, p50 / p95, {title}",
        value=f"{milliseconds(p50_ns)} / {milliseconds(p95_ns)}",
        baseline=f"one commit {milliseconds(commit_ns)}",
        ratio=p50_ns / commit_ns,
        target=f"p95 ≤ {milliseconds(TARGET_NS)}",
        is_met=p95_ns <= TARGET_NS,
    )
