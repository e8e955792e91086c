"""Memory of a relay and of the recorder: idle, and while 200,000 frames pass."""

from bench.figures import Figure, megabytes
from bench.processes import Memory, memory_of
from bench.sessions import LoadClient, Run

FRAME_BYTES = 200
STEPS = 10
RELAY_PRIVATE_BYTES = 8_000_000
RELAY_PSS_BYTES = 20_000_000
RECORDER_PSS_BYTES = 64_000_000
# The first step fills caches and pools; after it nothing may grow with the number of frames.
FLAT_RATIO = 1.1
FLAT_BYTES = 2_000_000


def measure(run: Run) -> list[Figure]:
    """Look at both processes before the first frame and after each step."""
    clients = run.start_clients(FRAME_BYTES, "km")
    if not clients:
        return []
    recorder_pid = run.recorder_pid()
    run.settle()
    relay, recorder = [memory_of(clients["km"].server_pid)], [memory_of(recorder_pid)]
    requests = run.pick(10_000, 1_000)
    for _ in range(STEPS):
        step(run, clients["km"], requests)
        relay.append(memory_of(clients["km"].server_pid))
        recorder.append(memory_of(recorder_pid))
    frames = 2 * STEPS * requests
    return [*relay_figures(relay, frames), *recorder_figures(recorder, frames)]


def step(run: Run, client: LoadClient, requests: int) -> None:
    """Send *requests* frames, get as many back, and let the recorder finish."""
    client.burst_ns(requests)
    run.settle(limit_s=15.0)


def relay_figures(seen: list[Memory], frames: int) -> list[Figure]:
    """Judge the relay.  PSS flatters a Python relay here: the recorder and we map the same interpreter."""
    private, pss = max(at.private for at in seen), max(at.pss for at in seen)
    return [
        Figure(
            what=f"relay private, most in {frames} frames",
            value=megabytes(private),
            baseline=f"idle {megabytes(seen[0].private)}",
            ratio=private / seen[0].private,
            target=f"≤ {megabytes(RELAY_PRIVATE_BYTES)}",
            is_met=private <= RELAY_PRIVATE_BYTES,
        ),
        Figure(
            what=f"relay PSS (resident {megabytes(max(at.resident for at in seen))})",
            value=megabytes(pss),
            baseline=f"idle {megabytes(seen[0].pss)}",
            ratio=pss / seen[0].pss,
            target=f"≤ {megabytes(RELAY_PSS_BYTES)}",
            is_met=pss <= RELAY_PSS_BYTES,
        ),
    ]


def recorder_figures(seen: list[Memory], frames: int) -> list[Figure]:
    """Judge the recorder: how much, and whether it grows."""
    pss = max(at.pss for at in seen)
    first, last = seen[1].private, seen[-1].private
    return [
        Figure(
            what=f"recorder PSS, most in {frames} frames",
            value=megabytes(pss),
            baseline=f"idle {megabytes(seen[0].pss)}",
            ratio=pss / seen[0].pss,
            target=f"≤ {megabytes(RECORDER_PSS_BYTES)}",
            is_met=pss <= RECORDER_PSS_BYTES,
        ),
        Figure(
            what=f"recorder private after {frames} frames",
            value=megabytes(last),
            baseline=f"after {frames // STEPS} frames {megabytes(first)}",
            ratio=last / first,
            target=f"flat: ≤ {FLAT_RATIO}× or +{megabytes(FLAT_BYTES)}",
            is_met=last <= max(FLAT_RATIO * first, first + FLAT_BYTES),
        ),
    ]
