"""The recorder's own speed: it is stopped while a journal fills, then timed until the store holds everything.

The baseline is the least that could be done with the same frames: decode each with msgspec, insert one row each.
"""

import os
import signal
import time

import msgspec

from bench.figures import Figure, microseconds
from bench.processes import cpu_ns
from bench.sessions import LoadClient, Run
from bench.store_reader import BareStore, StoreReader

EVENTS_TARGET = 20_000
MEGABYTES_TARGET = 40
NO_PROGRESS_S = 5.0
POLL_S = 0.02
# The journal keeps 64 MB of a session: what is sent at once stays well below, both ways and headers counted.
REQUESTS = {200: (20_000, 3_000), 4096: (5_000, 1_000)}


class Frame(msgspec.Struct):
    """What a recorder must know of a frame, the rest left as it is."""

    id: msgspec.Raw = msgspec.Raw()
    method: str = ""
    params: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """How fast *events* of *frame_bytes* each were stored."""

    frame_bytes: int
    events: int
    took_s: float
    cpu_us_per_event: float
    gaps: int

    @property
    def events_per_s(self) -> float:
        return self.events / self.took_s

    @property
    def megabytes_per_s(self) -> float:
        return self.events_per_s * self.frame_bytes / 1e6


def measure(run: Run) -> list[Figure]:
    """Measure small frames for events a second and 4 KB frames for MB a second."""
    figures = []
    for frame_bytes, (full, quick) in REQUESTS.items():
        clients = run.start_clients(frame_bytes, "km")
        if not clients:
            return []
        run.settle()
        requests = run.pick(full, quick)
        speed = record_backlog(run, clients["km"], frame_bytes, requests)
        figures += compare(speed, bare_events_per_s(run, frame_bytes, 2 * requests))
        run.close_clients()
        run.settle()
    return figures


def record_backlog(run: Run, client: LoadClient, frame_bytes: int, requests: int) -> Speed:
    """Let *requests* round trips wait in the journal, then time the recorder."""
    pid = run.recorder_pid()
    reader = StoreReader(run.store)
    events_before, gaps_before, used_before_ns = reader.count_events(), reader.count_gaps(), cpu_ns([pid])
    os.kill(pid, signal.SIGSTOP)
    try:
        client.burst_ns(requests)
    finally:
        start_ns = time.monotonic_ns()
        os.kill(pid, signal.SIGCONT)
    end_ns = wait_for_events(reader, events_before + 2 * requests)
    stored, gaps = reader.count_events() - events_before, reader.count_gaps() - gaps_before
    reader.close()
    used_ns = cpu_ns([pid]) - used_before_ns
    return Speed(
        frame_bytes=frame_bytes,
        events=stored,
        took_s=(end_ns - start_ns) / 1e9,
        cpu_us_per_event=used_ns / 1_000 / max(stored, 1),
        gaps=gaps,
    )


def wait_for_events(reader: StoreReader, wanted: int) -> int:
    """Return the monotonic clock when the store last grew, at *wanted* events or when nothing more comes."""
    seen, grew_ns = 0, time.monotonic_ns()
    while seen < wanted and time.monotonic_ns() - grew_ns < NO_PROGRESS_S * 1e9:
        time.sleep(POLL_S)
        now = reader.count_events()
        if now != seen:
            seen, grew_ns = now, time.monotonic_ns()
    return grew_ns


def bare_events_per_s(run: Run, frame_bytes: int, events: int) -> float:
    """Decode and insert frames of the same size with nothing else."""
    frame = b'{"jsonrpc":"2.0","id":1000000000,"method":"tools/call","params":{"text":"%s"}}'
    frame %= b"x" * (frame_bytes - len(frame) + 2)
    store = BareStore(run.home / f"bare-{frame_bytes}.db")
    start_ns = time.monotonic_ns()
    decode = msgspec.json.Decoder(Frame).decode
    store.add([(start_ns, decode(frame).method, frame) for _ in range(events)])
    took_s = (time.monotonic_ns() - start_ns) / 1e9
    store.close()
    return events / took_s


def compare(speed: Speed, bare_per_s: float) -> list[Figure]:
    """Judge small frames by their number, larger ones by their bytes."""
    is_small = speed.frame_bytes < 1_000
    name = f"recorder, {speed.frame_bytes} B frames" + (f" ({speed.gaps} gaps)" if speed.gaps else "")
    rate = Figure(
        what=name,
        value=f"{speed.events_per_s:,.0f} events/s, {speed.megabytes_per_s:.1f} MB/s",
        baseline=f"decode + insert {bare_per_s:,.0f}/s",
        ratio=speed.events_per_s / bare_per_s,
        target=f"≥ {EVENTS_TARGET:,} events/s" if is_small else f"≥ {MEGABYTES_TARGET} MB/s",
        is_met=speed.events_per_s >= EVENTS_TARGET if is_small else speed.megabytes_per_s >= MEGABYTES_TARGET,
    )
    return [rate, Figure(what=f"{name}, CPU", value=f"{microseconds(speed.cpu_us_per_event * 1_000)} an event")]
