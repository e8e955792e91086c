"""3000 frames of 1 KB, pipelined: sent without waiting while the answers come back, direct and through a relay."""

from bench.figures import Figure, median, milliseconds
from bench.sessions import Run

FRAMES = 3_000
FRAME_BYTES = 1_024
TARGET_RATIO = 0.8

NAMES = {"bare": "C relay", "recording": "C relay that records", "km": "km"}


def measure(run: Run) -> list[Figure]:
    """Measure each way in turns.  A deadlock ends the run with an error after a minute."""
    clients = run.start_clients(FRAME_BYTES, "direct", "bare", "recording", "km")
    taken_ns: dict[str, list[int]] = {name: [] for name in clients}
    for client in clients.values():
        client.burst_ns(FRAMES)
    for _ in range(run.pick(10, 3)):
        for name, client in clients.items():
            taken_ns[name].append(client.burst_ns(FRAMES))
        run.settle()
    return [compare(name, taken_ns) for name in taken_ns if name != "direct"]


def compare(name: str, taken_ns: dict[str, list[int]]) -> Figure:
    """Return one relay's burst beside the direct one; the ratio is that of the rates."""
    ratio = median(taken_ns["direct"]) / median(taken_ns[name])
    is_km = name == "km"
    return Figure(
        what=f"burst of {FRAMES} × 1 KB, {NAMES[name]}",
        value=milliseconds(median(taken_ns[name])),
        baseline=f"direct {milliseconds(median(taken_ns['direct']))}",
        ratio=ratio,
        target=f"≥ {TARGET_RATIO}×" if is_km else "",
        is_met=ratio >= TARGET_RATIO if is_km else None,
    )
