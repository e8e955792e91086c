"""Fault points: where the tests let the recorder die, to prove that nothing is lost there.

A file `fault` in km's home, which only a test makes, says `POINT COUNT`: at the COUNT-th time the recorder reaches that
point it kills itself.  The file is removed first, so that the next recorder lives.
"""

import os
import signal

POINTS = (
    "started", "scanned", "frame", "noted", "read", "in_transaction", "before_commit", "committed", "unlinked",
    "finished", "leaving",
)  # fmt: skip


class Fault:
    """The point at which this process dies; none unless a test has armed one."""

    def __init__(self) -> None:
        self.point = ""
        self.count = 0
        self.path = ""


ARMED = Fault()


def arm(home_folder: str) -> None:
    """Read the file, if there is one."""
    path = os.path.join(home_folder, "fault")
    try:
        with open(path) as file:
            point, count = file.read().split()
            ARMED.point, ARMED.count, ARMED.path = point, int(count), path
    except (OSError, ValueError):
        return


def reach(point: str) -> None:
    """Die here if that is what the test wants."""
    if ARMED.point != point:
        return
    ARMED.count -= 1
    if ARMED.count == 0:
        os.unlink(ARMED.path)
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def linger_s(usual_s: float) -> float:
    """Return how long an idle recorder stays; not long where a test wants to see it leave."""
    return 0.1 if ARMED.point == "leaving" else usual_s
