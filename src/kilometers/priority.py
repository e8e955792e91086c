"""Staying out of the way of the session that is recorded, on a machine with few cores.

Nice 19 alone is not enough: kernels with lazy preemption take the processor from a computing process at the next tick
only, up to 4 ms later, but at once when it makes a system call.  So the recorder makes one between any two frames
(added p99 of a paced call on two cores: 0.5 ms instead of 1.2).
"""

import os

if hasattr(os, "sched_yield"):
    give_way = os.sched_yield
else:

    def give_way() -> None:
        """Nothing is to be done: this system takes the processor when it wants it."""
