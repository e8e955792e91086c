"""A program on a terminal of its own: what a person would see and type."""

import codecs
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from typing import Any, Self


class Terminal:
    """A process on a pseudo-terminal: stdin, stdout and stderr, but for those that *popen* puts elsewhere."""

    def __init__(self, command: list[str], environment: dict[str, str], *, columns: int = 80, **popen: Any) -> None:
        self.shown = ""
        """Everything that was written so far."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        popen = {"stdin": theirs, "stdout": theirs, "stderr": theirs, **popen}
        self.process = subprocess.Popen(command, env=environment, start_new_session=True, **popen)
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        os.close(self._fd)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def wait_for(self, text: str, timeout_s: float = 30) -> None:
        """Read until *text* is shown."""
        deadline_s = time.monotonic() + timeout_s
        while text not in self.shown:
            assert time.monotonic() < deadline_s, f"not shown: {text!r}; but: {self.shown!r}"
            assert self._read(), f"ended without {text!r}; but: {self.shown!r}"

    def wait(self, timeout_s: float = 30) -> int:
        """Read to the end and return the exit status."""
        deadline_s = time.monotonic() + timeout_s
        while self._read():
            assert time.monotonic() < deadline_s, f"it does not end: {self.shown!r}"
        return self.process.wait(timeout_s)

    def _read(self) -> bool:
        """Read what is there within a moment; False once nobody can write any more."""
        if not select.select([self._fd], [], [], 0.1)[0]:
            return True
        try:
            written = os.read(self._fd, 1 << 16)
        except OSError:  # EIO: all have closed it
            written = b""
        self.shown += self._decoder.decode(written, final=not written)
        return bool(written)
