"""What a check of `km doctor` is: it looks at one real thing and says what it found, and how to mend it.

    look(home) → findings ──▶ one Check: the worst state, what was found of it, what to type

Whatever happens while one check looks, the others go on: what it raises, and that it gets no answer, are findings too.
The checks themselves are in home_checks.py and machine_checks.py.
"""

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from kilometers.errors import KilometersError
from kilometers.paths import Home, user_id
from kilometers.shell import quote

TIMEOUT_S = 10.0  # a network folder that does not answer would keep us for ever
PROBE_BYTES = bytes(4096)

State = Literal["ok", "warn", "fail"]
STATES: tuple[State, ...] = ("fail", "warn", "ok")


class Finding(msgspec.Struct, frozen=True):
    """One thing that a check saw; *fix* is a command to type or a sentence, "" where all is well."""

    state: State
    detail: str
    fix: str = ""


class Check(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One check as the command prints it."""

    id: str
    """Which check: stays the same over versions."""
    title: str
    """The same for a person."""
    state: State
    """`ok`; `warn`: recording works, but look at it; `fail`: recording does not work as it should."""
    detail: str
    """What was found; a line for each thing that is not well."""
    fix: str = ""
    """A command to type, or a sentence, for each line of *detail*.  Absent where all is well."""


Look = Callable[[Home], Iterable[Finding]]


def ok(detail: str) -> Finding:
    """Return that all is well."""
    return Finding("ok", detail)


def warn(detail: str, fix: str) -> Finding:
    """Return what is odd and may become a problem."""
    return Finding("warn", detail, fix)


def fail(detail: str, fix: str) -> Finding:
    """Return what keeps km from recording as it should."""
    return Finding("fail", detail, fix)


def make_check(id: str, title: str, look: Look, home: Home, *, is_bounded: bool = False) -> Check:
    """Look, and return what was found.  What *is_bounded* ends by itself, and cleans up if it is interrupted."""
    findings = guarded(look, home) if is_bounded else run_within(TIMEOUT_S, lambda: guarded(look, home))
    if findings is None:
        seconds = f"{TIMEOUT_S:.0f} s"
        findings = [fail(f"no answer within {seconds}", "Does a disk or a network folder hang?  See: df -h")]
    return combine(id, title, findings)


def combine(id: str, title: str, findings: list[Finding]) -> Check:
    """Return one check: everything that is not well, else everything."""
    by_weight = sorted(findings, key=lambda finding: STATES.index(finding.state))
    bad = [finding for finding in by_weight if finding.state != "ok"]
    if not bad:
        return Check(id=id, title=title, state="ok", detail="; ".join(finding.detail for finding in findings))
    return Check(
        id=id,
        title=title,
        state=bad[0].state,
        detail="\n".join(in_one_line(finding.detail) for finding in bad),
        fix="\n".join(in_one_line(finding.fix) for finding in bad),
    )


def in_one_line(text: str) -> str:
    """Return *text* without line ends, which what other programs say may hold."""
    return " ".join(text.splitlines())


def guarded(look: Look, home: Home) -> list[Finding]:
    """Return what *look* finds; what it raises is a finding."""
    try:
        return list(look(home))
    except KilometersError as error:
        return [fail(error.message.rstrip("."), error.hint or "km status")]
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return [fail(f"{place}{error.strerror or error}", advice(error, str(error.filename or home.folder)))]
    except Exception as error:  # noqa: BLE001  # one check that fails must not keep the others from looking
        return [fail(f"km could not check this: {type(error).__name__}: {error}", "Report it, with: km version")]


def run_within(timeout_s: float, look: Callable[[], list[Finding]]) -> list[Finding] | None:
    """Return what *look* returns, or None if it takes too long; its thread is then left to itself."""
    answers: list[list[Finding]] = []
    thread = threading.Thread(target=lambda: answers.append(look()), daemon=True)
    thread.start()
    thread.join(timeout_s)
    return answers[0] if answers else None


def try_to_write(folder: str) -> int:
    """Make a file in *folder* and remove it; return the time that the file system gave it, in ns.  Raises OSError."""
    path = os.path.join(folder, f".km-doctor-{os.getpid()}")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if os.write(fd, PROBE_BYTES) < len(PROBE_BYTES):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder)
        return os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)
        os.unlink(path)


def advice(error: OSError, path: str) -> str:
    """Return what helps against *error* at *path*."""
    if error.errno in {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}:
        return f"Free space there: df -h {quote(path)}"
    if error.errno == errno.ENOENT:
        return f"mkdir -p {quote(os.path.dirname(path))}"
    if error.errno == errno.EROFS:
        return f"It is mounted read-only.  Mount it for writing, or give km another home: KILOMETERS_HOME; see {path}"
    if error.errno in {errno.EACCES, errno.EPERM} and sys.platform != "win32":
        return f"chmod -R u+rwX {quote(path)}" if is_ours(path) else f"sudo chown -R {user_id()} {quote(path)}"
    return f"ls -ld {quote(path)}" if sys.platform != "win32" else f"icacls {quote(path)}"


def is_ours(path: str) -> bool:
    """Whether *path*, or the nearest folder above it that is there, belongs to us."""
    return os.stat(nearest(path)).st_uid == user_id()


def nearest(path: str) -> str:
    """Return *path*, or the nearest folder above it that is there."""
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path
