"""Fault points: where the tests let the recorder die, to prove that nothing is lost there.

A file `fault` in km's home, which only a test makes, says `POINT COUNT`: at the COUNT-th time the recorder reaches that
point it kills itself.  The file is removed first, so that the next recorder lives.
"""

import os
import signal

POINTS = (
    "started", "scanned", "frame", "read", "in_transaction", "before_commit", "committed", "unlinked", "finished",
    "leaving",
)  # fmt: skip

_armed: list[object] = ["", 0, ""]


def arm(home_folder: str) -> None:
    """Read the file, if there is one."""
    path = os.path.join(home_folder, "fault")
    try:
        with open(path) as file:
            point, count = file.read().split()
    except (OSError, ValueError):
        return
    _armed[:] = [point, int(count), path]


def reach(point: str) -> None:
    """Die here if that is what the test wants."""
    if _armed[0] != point:
        return
    _armed[1] = int(str(_armed[1])) - 1
    if _armed[1] == 0:
        os.unlink(str(_armed[2]))
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def linger_s(usual_s: float) -> float:
    """Return how long an idle recorder stays; not long where a test wants to see it leave."""
    return 0.1 if _armed[0] == "leaving" else usual_s
