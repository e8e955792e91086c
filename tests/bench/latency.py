"""Added latency of a round trip: direct, a bare C relay and km, in turns, with the recorder working.

Two loads: flat out, where the next frame follows the answer at once and the recorder is busy the whole time,
and paced, where a frame every millisecond leaves everybody time to fall asleep.
"""

import msgspec

from bench.figures import MICROSECOND_NS, MILLISECOND_NS, Figure, microseconds, milliseconds, percentile
from bench.sessions import LoadClient, Run

KM_NAMES = ("km", "native folder")
FRAME_SIZES = {"200 B": 200, "4 KB": 4096}
P50_ALLOWANCE_NS = 40 * MICROSECOND_NS
P99_TARGET_NS = 0.5 * MILLISECOND_NS


class Load(msgspec.Struct, frozen=True):
    """How many round trips make a block, and how long the client thinks between them."""

    name: str
    round_trips: int
    gap_us: int


# A block of 1,000 × 4 KB is 8 MB both ways: far below what a session may keep in its journal.
LOADS = (Load("flat out", 1_000, 0), Load("paced", 150, 1_000))

Samples = dict[str, list[int]]


def measure(run: Run) -> list[Figure]:
    """Measure every size under every load."""
    figures = []
    for size_name, frame_bytes in FRAME_SIZES.items():
        clients = run.start_clients(frame_bytes, "direct", "bare", *KM_NAMES)
        for client in clients.values():
            client.round_trips_ns(300)
        for load in LOADS:
            samples = take_turns(run, clients, load)
            figures += compare(f"{size_name}, {load.name}", samples)
        run.close_clients()
    return figures


def take_turns(run: Run, clients: dict[str, LoadClient], load: Load) -> Samples:
    """Return the round trips in nanoseconds of each client."""
    samples: Samples = {name: [] for name in clients}
    for _ in range(run.pick(16, 2)):
        for name, client in clients.items():
            samples[name] += client.round_trips_ns(load.round_trips, gap_us=load.gap_us)
        # What is still being recorded must not slow the direct round trips that come next.
        run.settle()
    return samples


def compare(title: str, samples: Samples) -> list[Figure]:
    """Return what each relay adds to the direct round trip."""
    p50_ns, p99_ns = ({name: percentile(taken, percent) for name, taken in samples.items()} for percent in (50, 99))
    bare_added_ns = p50_ns["bare"] - p50_ns["direct"]
    figures = [added_by(name, title, p50_ns, p99_ns) for name in KM_NAMES if name in samples]
    return [figure for pair in figures for figure in pair] or [
        Figure(what=f"C relay adds, p50, {title}", value=added(bare_added_ns), baseline=direct(p50_ns))
    ]


def added_by(name: str, title: str, p50_ns: dict[str, float], p99_ns: dict[str, float]) -> list[Figure]:
    """Return what one km adds, at the median and at the 99th percentile."""
    title = title if name == "km" else f"{title}, {name}"
    bare_added_ns = p50_ns["bare"] - p50_ns["direct"]
    km_added_ns, km_p99_added_ns = (at[name] - at["direct"] for at in (p50_ns, p99_ns))
    return [
        Figure(
            what=f"added p50, {title}",
            value=added(km_added_ns),
            baseline=f"C relay {added(bare_added_ns)}, {direct(p50_ns)}",
            ratio=p50_ns[name] / p50_ns["direct"],
            target=f"≤ C relay + {microseconds(P50_ALLOWANCE_NS)}",
            is_met=km_added_ns <= bare_added_ns + P50_ALLOWANCE_NS,
        ),
        Figure(
            what=f"added p99, {title}",
            value=added(km_p99_added_ns),
            baseline=f"C relay {added(p99_ns['bare'] - p99_ns['direct'])}, {direct(p99_ns)}",
            ratio=p99_ns[name] / p99_ns["direct"],
            target=f"≤ {milliseconds(P99_TARGET_NS)}",
            is_met=km_p99_added_ns <= P99_TARGET_NS,
        ),
    ]


def added(duration_ns: float) -> str:
    """Return a difference with its sign."""
    return f"{duration_ns / MICROSECOND_NS:+.0f} µs"


def direct(quantile_ns: dict[str, float]) -> str:
    """Return the direct round trip."""
    return f"direct {microseconds(quantile_ns['direct'])}"
