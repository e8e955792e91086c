"""What wakes the relay's main thread: a signal, a pump that has ended, the server's end; a number each.

POSIX: a pipe, which signal handlers write to as well.  Windows: a queue, since nothing there can wait for a pipe and a
time at once.
"""

import os
import sys

PUMP_ENDED = 0x80
"""Above every signal's number."""

if sys.platform == "win32":
    import queue

    class Doorbell:
        """Rung by any thread, waited for by one."""

        def __init__(self) -> None:
            self._rings: queue.SimpleQueue[int] = queue.SimpleQueue()

        def ring(self, number: int) -> None:
            """Wake the main thread."""
            self._rings.put(number)

        def wait(self, timeout_s: float) -> bytes:
            """Return the numbers that were rung; none after *timeout_s* (infinite: for as long as it takes)."""
            try:
                return bytes([self._rings.get(timeout=None if timeout_s == float("inf") else max(0.0, timeout_s))])
            except queue.Empty:
                return b""

else:
    import select
    import signal

    class Doorbell:
        """Rung by any thread and by signals, waited for by one."""

        def __init__(self) -> None:
            self._wait_fd, self._ring_fd = os.pipe()
            os.set_blocking(self._ring_fd, False)
            self._poll = select.poll()
            self._poll.register(self._wait_fd, select.POLLIN)

        def hear_signals(self) -> None:
            """Ring at every signal that has a handler, before that runs; from the main thread."""
            signal.set_wakeup_fd(self._ring_fd, warn_on_full_buffer=False)

        def close(self) -> None:
            """Let go of the pipe."""
            os.close(self._wait_fd)
            os.close(self._ring_fd)

        def ring(self, number: int) -> None:
            """Wake the main thread; a full pipe has woken it already."""
            try:
                os.write(self._ring_fd, bytes([number]))
            except BlockingIOError:
                pass

        def wait(self, timeout_s: float) -> bytes:
            """Return the numbers that were rung; none after *timeout_s* (infinite: for as long as it takes)."""
            timeout_ms = None if timeout_s == float("inf") else max(0.0, timeout_s * 1000)
            return os.read(self._wait_fd, 4096) if self._poll.poll(timeout_ms) else b""
