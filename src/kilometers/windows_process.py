"""A Windows process with pipes, in a Job Object: it and everything that it starts end with km, however km ends.

km alone has the job's handle, and the system ends what is in a job when its last handle goes (as PR_SET_PDEATHSIG does
on Linux).  The process is made suspended, put into the job, and only then let run, so that no process of its own can
escape.  Once it has ended by itself the job lets go of what it left behind: without km that would live on, too.

CPython's `_winapi` is what its subprocess is made of, without the time to import that; what it lacks is called by
ctypes.  Used by child.py.  Source: "Job Objects", "CreateProcessW", learn.microsoft.com.
"""

import _winapi
import ctypes
import msvcrt
import os
import struct
import sys
from typing import cast

assert sys.platform == "win32"

CREATE_SUSPENDED = 0x4
EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
BREAKAWAY_OK = 0x800  # a server may start what is to outlive it, if it says so, as it might without km
KILL_ON_JOB_CLOSE = 0x2000
OUR_ENVIRONMENT = cast("dict[str, str]", None)  # which Windows hands on as it is; the stubs know of no such case
ENDED_STATUS = 1  # as subprocess.terminate and most other killers have it

kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
kernel32.CreateJobObjectW.restype = ctypes.c_void_p


class StartupInfo:
    """What CreateProcess reads: the three standard handles, and that no other handle is inherited."""

    dwFlags = _winapi.STARTF_USESTDHANDLES  # noqa: N815  # these names are Windows' own
    wShowWindow = 0  # noqa: N815  # as above

    def __init__(self, standard_handles: list[int]) -> None:
        self.hStdInput, self.hStdOutput, self.hStdError = standard_handles
        self.lpAttributeList = {"handle_list": standard_handles}


class Process:
    """A running process: its handle, its job, its pid, and our ends of its pipes."""

    def __init__(self, program: str, line: str, *, share_stderr: bool, pipe_bytes: int) -> None:
        """Start *program* with the command line *line*; with our own stderr where that is shared.  Raises OSError."""
        pipes = [_winapi.CreatePipe(None, pipe_bytes) for _ in range(2 if share_stderr else 3)]
        theirs = [pipes[0][0], pipes[1][1], msvcrt.get_osfhandle(2) if share_stderr else pipes[2][1]]
        inherited = [duplicate_inheritable(handle) for handle in theirs]
        try:
            self.handle, thread, self.pid, _ = _winapi.CreateProcess(
                program, line, None, None, True, creation_flags(), OUR_ENVIRONMENT, None, StartupInfo(inherited)
            )
        finally:
            for handle in {*inherited, pipes[0][0], *(write for _, write in pipes[1:])}:
                _winapi.CloseHandle(handle)
        self.job = put_into_job(self.handle)
        kernel32.ResumeThread(ctypes.c_void_p(thread))
        _winapi.CloseHandle(thread)
        self.stdin_fd = msvcrt.open_osfhandle(pipes[0][1], os.O_WRONLY | os.O_BINARY | os.O_NOINHERIT)
        self.output_fds = [
            msvcrt.open_osfhandle(read, os.O_RDONLY | os.O_BINARY | os.O_NOINHERIT) for read, _ in pipes[1:]
        ]

    def wait(self, timeout_ms: int = _winapi.INFINITE) -> bool:
        """Wait for its end; whether it has ended."""
        return _winapi.WaitForSingleObject(self.handle, timeout_ms) == _winapi.WAIT_OBJECT_0

    def poll(self) -> int | None:
        """Return its exit status, 0 to 0xFFFFFFFF, once it has ended; what it leaves behind is then left alone."""
        if not self.wait(0):
            return None
        set_limits(self.job, BREAKAWAY_OK)
        return _winapi.GetExitCodeProcess(self.handle)

    def terminate(self) -> None:
        """End it and everything that it has started: a batch file is cmd.exe, and the server its child."""
        if not kernel32.TerminateJobObject(ctypes.c_void_p(self.job), ENDED_STATUS):
            kernel32.TerminateProcess(ctypes.c_void_p(self.handle), ENDED_STATUS)


def creation_flags() -> int:
    """Return how to start a server: suspended, in km's own console; where km has none, no window is to open."""
    has_console = kernel32.GetConsoleCP() != 0
    return CREATE_SUSPENDED | (0 if has_console else _winapi.CREATE_NO_WINDOW)


def duplicate_inheritable(handle: int) -> int:
    """Return a copy of *handle* that a child may inherit."""
    ours = _winapi.GetCurrentProcess()
    return _winapi.DuplicateHandle(ours, handle, ours, 0, True, _winapi.DUPLICATE_SAME_ACCESS)


def put_into_job(process: int) -> int | None:
    """Put a process into a new job, which ends with us, and return it; None where the system refuses."""
    job: int | None = kernel32.CreateJobObjectW(None, None)
    set_limits(job, BREAKAWAY_OK | KILL_ON_JOB_CLOSE)
    kernel32.AssignProcessToJobObject(ctypes.c_void_p(job), ctypes.c_void_p(process))
    return job


def set_limits(job: int | None, flags: int) -> None:
    """Set a job's LimitFlags: at 16 of the 144 bytes of JOBOBJECT_EXTENDED_LIMIT_INFORMATION (64-bit, winnt.h)."""
    limits = struct.pack("<16xI124x", flags)
    kernel32.SetInformationJobObject(ctypes.c_void_p(job), EXTENDED_LIMITS, limits, len(limits))
