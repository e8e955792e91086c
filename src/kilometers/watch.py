"""Sleeping until a journal changes: inotify on Linux, kqueue on macOS, a look every 250 ms on Windows.

Nothing is woken while nothing happens, but on Windows, and on macOS every two seconds while a session lives.
"""

import os
import struct
import sys
import time

POLL_S = 0.25


class PollingWatcher:
    """Looks again and again: where the OS has nothing better."""

    def add(self, folder: str) -> None:
        """Watch one more folder."""

    def wait(self, timeout_s: float) -> set[str] | None:
        """Sleep, then return None: anything may have changed."""
        time.sleep(min(timeout_s, POLL_S))
        return None


if sys.platform == "linux":
    import ctypes
    import select

    IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_TO, IN_CREATE = 0x2, 0x8, 0x80, 0x100
    IN_DELETE_SELF, IN_Q_OVERFLOW, IN_IGNORED = 0x400, 0x4000, 0x8000
    MASK = IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF
    _EVENT = struct.Struct("iIII")

    class Watcher:
        """inotify(7): the names of files that were written, made or closed."""

        def __init__(self) -> None:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            self._folders: dict[int, str] = {}
            # The user's instances or watches may be used up (128 instances for each user): then by looking.
            self._must_poll = self._fd < 0

        def add(self, folder: str) -> None:
            """Watch one more folder; one that is not there is left for later."""
            if self._must_poll or folder in self._folders.values():
                return
            number = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), MASK)
            if number >= 0:
                self._folders[number] = folder
            elif os.path.isdir(folder):
                self._must_poll = True

        def wait(self, timeout_s: float) -> set[str] | None:
            """Return the names of changed files, empty after *timeout_s*; None where anything may have changed."""
            if self._must_poll:
                time.sleep(min(timeout_s, POLL_S))
                return None
            if not select.select([self._fd], [], [], timeout_s)[0]:
                return set()
            names: set[str] = set()
            is_unsure = False
            data = os.read(self._fd, 1 << 16)
            at = 0
            while at < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, at)
                name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                at += _EVENT.size + length
                if mask & IN_IGNORED:
                    self._folders.pop(number, None)
                is_unsure = is_unsure or bool(mask & (IN_Q_OVERFLOW | IN_DELETE_SELF | IN_IGNORED))
                names.add(os.fsdecode(name))
            return None if is_unsure else names

elif sys.platform == "darwin":
    import select

    # No event tells that a relay was killed: only its lock, which has to be looked at.
    LOOK_S = 2.0

    class Watcher:
        """kqueue(2): a folder tells of new files only, so every journal file is watched by itself."""

        def __init__(self) -> None:
            self._queue = select.kqueue()
            self._fds: dict[str, int] = {}
            self._folders: list[str] = []
            self._must_poll = False
            """Some file could not be watched: this process has no more descriptors."""

        def add(self, folder: str) -> None:
            """Watch one more folder."""
            if folder not in self._folders:
                self._folders.append(folder)

        def wait(self, timeout_s: float) -> set[str] | None:
            """Sleep until something changed, then return None: kqueue tells no names; empty after *timeout_s*."""
            if self._watch_new_files():
                return None  # what was written before it was watched has told nobody
            look_after_s = self._look_after_s()
            if self._queue.control(None, 64, min(timeout_s, look_after_s)):
                return None
            return None if look_after_s < timeout_s else set()

        def _look_after_s(self) -> float:
            if self._must_poll:
                return POLL_S
            return LOOK_S if any(path.endswith(".lock") for path in self._fds) else float("inf")

        def _watch_new_files(self) -> bool:
            """Watch what is there now; whether there is anything new."""
            paths = set(self._folders)
            for folder in self._folders:
                if os.path.isdir(folder):
                    paths.update(os.path.join(folder, name) for name in os.listdir(folder))
            for gone in self._fds.keys() - paths:
                os.close(self._fds.pop(gone))
            new = paths - self._fds.keys()
            self._must_poll = bool([path for path in new if not self._watch(path)])
            return not self._fds.keys().isdisjoint(new)

        def _watch(self, path: str) -> bool:
            """Watch a file; False where that is not possible, though it is there."""
            try:
                self._fds[path] = fd = os.open(path, os.O_EVTONLY)
            except FileNotFoundError:
                return True
            except OSError:
                return False
            notes = select.KQ_NOTE_WRITE | select.KQ_NOTE_EXTEND | select.KQ_NOTE_ATTRIB | select.KQ_NOTE_DELETE
            self._queue.control(
                [select.kevent(fd, select.KQ_FILTER_VNODE, select.KQ_EV_ADD | select.KQ_EV_CLEAR, notes)], 0, 0
            )
            return True

else:
    Watcher = PollingWatcher
