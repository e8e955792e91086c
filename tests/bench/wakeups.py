"""Wake-ups of 20 silent sessions: how often any thread of any km process wakes up while nothing is said."""

import time

from bench.figures import Figure
from bench.processes import is_alive, voluntary_switches
from bench.sessions import Run

SESSIONS = 20
TARGET_PER_S = 5
# A relay rotates its segment 2 s after the first append; silence begins after that.
SETTLE_S = 3.5


def measure(run: Run) -> list[Figure]:
    """Count over the same seconds for servers started directly and through km."""
    wrappers = run.programs.wrappers("direct", "km")
    if "km" not in wrappers:
        return []
    pids = {
        name: [run.start_client(wrapper, 200).server_pid for _ in range(SESSIONS)] for name, wrapper in wrappers.items()
    }
    pids["km"].append(run.recorder_pid())
    time.sleep(SETTLE_S)
    duration_s = run.pick(5, 3)
    before = {name: voluntary_switches(which) for name, which in pids.items()}
    time.sleep(duration_s)
    if not is_alive(pids["km"][-1]):
        raise RuntimeError("the recorder ended while sessions lived")
    per_s = {name: (voluntary_switches(which) - before[name]) / duration_s for name, which in pids.items()}
    return [
        Figure(
            what=f"wake-ups of {SESSIONS} silent sessions",
            value=f"{per_s['km']:.1f}/s",
            baseline=f"servers alone {per_s['direct']:.1f}/s",
            target=f"< {TARGET_PER_S}/s",
            is_met=per_s["km"] < TARGET_PER_S,
        )
    ]
