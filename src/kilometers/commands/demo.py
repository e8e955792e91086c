"""`km demo`: a real MCP client and server through the real `km monitor`, then what was captured.

Both are built in and speak JSON-RPC over stdio; they run in a home of their own, which is removed afterwards.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from kilometers import console, election, locks, paths
from kilometers.commands import sessions, show
from kilometers.errors import EXIT_OK, KilometersError

ANSWER_TIMEOUT_S = 10.0
SERVER = [sys.executable, "-E", "-P", "-m", "kilometers.commands.demo_server"]
CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "initialize",
        {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "km-demo-client", "version": "1.0.0"},
        },
    ),
    ("tools/list", {}),
    ("tools/call", {"name": "add", "arguments": {"a": 19, "b": 23}}),
    ("tools/call", {"name": "slow", "arguments": {"seconds": 0.2}, "_meta": {"progressToken": "demo"}}),
    ("tools/call", {"name": "fail", "arguments": {}}),
    ("resources/read", {"uri": "demo://missing"}),
)


def run(command: list[str]) -> int:
    """Run the conversation, then show its session."""
    with tempfile.TemporaryDirectory(prefix="km-demo-") as folder:
        for name in [name for name in os.environ if name.startswith("KILOMETERS_")]:
            del os.environ[name]
        os.environ["KILOMETERS_HOME"] = folder
        try:
            converse()
            console.say("A client called a server through `km monitor`. What km saw:\n")
            sessions.run(since=None, search=None, limit=None, with_probes=False, as_json=False)
            show.run(None, as_json=False)
            sys.stdout.flush()
        finally:
            stop_recorder(paths.find_home())
    console.say("\nNow wrap your own server: km monitor -- COMMAND")
    return EXIT_OK


def converse() -> None:
    """Be the client: one call after the other, then end the server as clients do, by closing its stdin."""
    relay = subprocess.Popen(
        [*election.own_command(), "monitor", "--name", "demo", "--", *SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what the server says there is in the timeline
    )
    assert relay.stdin is not None
    assert relay.stdout is not None
    deadline = threading.Timer(ANSWER_TIMEOUT_S, relay.kill)
    deadline.daemon = True
    deadline.start()
    for number, (method, params) in enumerate(CALLS):
        frame = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        relay.stdin.write(json.dumps(frame).encode() + b"\n")
        relay.stdin.flush()
        for line in relay.stdout:
            if json.loads(line).get("id") == number:
                break
        else:
            raise KilometersError("the demo's server did not answer.", "What does `km monitor -v -- cat` say?")
    relay.stdin.close()
    relay.wait()
    deadline.cancel()


def stop_recorder(home: paths.Home) -> None:
    """End the demo's own recorder, so that its home can go; it leaves at once on TERM."""
    if not os.path.exists(home.recorder_lock):
        return
    fd = election.open_lock(home)
    try:
        pid = election.read_lock(fd).pid
        if pid and not locks.try_lock(fd):
            os.kill(pid, signal.SIGTERM)
            deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
            while not locks.try_lock(fd) and time.monotonic() < deadline_s:
                time.sleep(0.01)
    finally:
        os.close(fd)
    for folder in home.ram_folders():
        try:
            os.rmdir(folder)
        except OSError:
            pass  # not there
