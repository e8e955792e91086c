"""Homes to export from and runs of `km export`: what its tests share."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kilometers.core import journal
from recorder.sessions import KM, Recorded, Sessions
from relay.wrapped import home_in
from screens.scripted_store import ScriptedStore, busy_steps

MINUTE_NS = 60_000_000_000
BEGIN_NS = 1_790_000_000_000_000_000
LARGE_SESSIONS = 10
LARGE_CALLS = 2_500
SUMMARY = re.compile(r"[0-9,]+ events? of [0-9,]+ sessions?, [0-9.]+ k?M?B, in [0-9.]+ (µs|ms|s)\n")
# What a server that answers with what it was asked makes events of; by `id`.
ASKED = (
    rb'{"jsonrpc":"2.0","id":"=1+1","method":"tools/call","params":{"name":"=HYPERLINK(\"http://x\",\"y\")"}}',
    rb'{"jsonrpc":"2.0","id":-1,"method":"tools/call","params":{"name":"-2e3"}}',
    rb'{"jsonrpc":"2.0","id":2,"method":"@SUM(A1)","params":{"text":"\u00e4, \"b\"\r\nc \u2192 \ud83d\ude80"}}',
    rb'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"a,\"b\"\r\nc\rd"}}',
    rb'{"jsonrpc":"2.0","id":3,"error":{"code":-32601,"message":"-1"}}',
    b'{"jsonrpc":"2.0","method":"notifications/\xc2\x9b31m\x7f"}',
    b"no message",
)


@contextmanager
def record_sessions(folder: Path) -> Iterator[Sessions]:
    """Record into a home with two sessions that overlapped, and a probe."""
    with home_in(folder) as home:
        sessions = Sessions(home)
        hostile = sessions.start(command=["sh", "-c", "echo =1+1 >&2; exec cat"])
        hostile.write(b"".join(line + b"\n" for line in ASKED))
        hostile.wait_for_answers(len(ASKED))
        calls = sessions.start()
        calls.call(1)
        calls.wait_for_answers(1)
        hostile.end()
        calls.end()
        probe = sessions.start()
        probe.write(b'{"jsonrpc":"2.0","id":"server-discover-probe-1","method":"server/discover","params":{}}\n')
        probe.end()
        sessions.wait_until_recorded()
        yield sessions
        sessions.close()


def write_sessions(folder: Path) -> Sessions:
    """Write a home with sessions enough for an export of half a second; the last in the store began first."""
    scripted = ScriptedStore(folder / "home")
    for number in reversed(range(LARGE_SESSIONS)):
        steps = busy_steps(LARGE_CALLS, client="client-0", seed=number)
        gap = (journal.CLIENT_TO_SERVER, 1_000, 50.0) if number == 0 else None
        begin_ns = BEGIN_NS + number * MINUTE_NS
        scripted.add(steps, name=f"server-{number}", begin_ns=begin_ns, end_after_ms=LARGE_CALLS * 100 + 1, gap=gap)
    scripted.close()
    return Sessions(folder / "home")


def in_order(sessions: Sessions) -> list[Recorded]:
    return sorted(sessions.recorded().values(), key=lambda one: str(one.summary["started_at"]))


def lines_of(sessions: Sessions) -> list[bytes]:
    return [wire for one in in_order(sessions) for wire in one.wires]


def export(sessions: Sessions, *arguments: str) -> bytes:
    done = sessions.km("export", *arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def start(sessions: Sessions, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*KM, "export", *arguments], env=sessions.environment, **options)
