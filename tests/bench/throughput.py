"""10 MB frames: there and back, direct and through a relay, in turns."""

from bench.figures import Figure, median
from bench.sessions import Run
from bench.store_reader import StoreReader

FRAME_BYTES = 10_000_000
TARGET_RATIO = 0.5

NAMES = {"bare": "C relay", "recording": "C relay that records", "km": "km"}


def measure(run: Run) -> list[Figure]:
    """Measure each way with the same frames."""
    clients = run.start_clients(FRAME_BYTES, "direct", "bare", "recording", "km")
    rates: dict[str, list[float]] = {name: [] for name in clients}
    for client in clients.values():
        client.round_trips_ns(2)
    for _ in range(run.pick(10, 2)):
        for name, client in clients.items():
            # A frame goes there, an equal one comes back.
            rates[name].append(2 * FRAME_BYTES / client.round_trips_ns(1)[0] * 1_000)
        run.settle()
    return [compare(name, rates, run) for name in rates if name != "direct"]


def compare(name: str, rates: dict[str, list[float]], run: Run) -> Figure:
    """Return one relay's rate in MB/s beside the direct one."""
    ratio = median(rates[name]) / median(rates["direct"])
    is_km = name == "km"
    return Figure(
        what=f"10 MB frames, {NAMES[name]}{gaps_note(run) if is_km else ''}",
        value=f"{median(rates[name]):.0f} MB/s",
        baseline=f"direct {median(rates['direct']):.0f} MB/s",
        ratio=ratio,
        target=f"≥ {TARGET_RATIO}×" if is_km else "",
        is_met=ratio >= TARGET_RATIO if is_km else None,
    )


def gaps_note(run: Run) -> str:
    """Say how much of it was not recorded: a rate is worth less if the journal was full."""
    reader = StoreReader(run.store)
    gaps = reader.count_gaps()
    reader.close()
    return f" ({gaps} gaps)" if gaps else ""
