"""Ask the installed km what it recorded in one home."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import km_under_test

RECORDED_WITHIN_S = 5
POLL_INTERVAL_S = 0.05
COMMAND_TIMEOUT_S = 20


def km_command() -> str:
    """Return the km that is tested."""
    return km_under_test.PROGRAM


def km_json(home: Path, *arguments: str) -> list[dict[str, Any]]:
    """Return what `km ARGUMENTS --json` prints about *home*, one value per line."""
    completed = subprocess.run(
        [km_command(), *arguments, "--json"],
        env={**os.environ, "KILOMETERS_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr.decode()
    # Not splitlines(): a payload may hold U+2028.
    return [json.loads(line) for line in completed.stdout.split(b"\n") if line]


def wait_for_ended_sessions(home: Path, count: int) -> list[dict[str, Any]]:
    """Return all *count* sessions of *home*, probes too, once the recorder has closed each of them."""
    deadline = time.monotonic() + RECORDED_WITHIN_S
    while True:
        sessions = km_json(home, "sessions", "--all")
        if len(sessions) == count and all(session.get("ended_at") for session in sessions):
            return sessions
        assert time.monotonic() < deadline, f"not {count} ended sessions after {RECORDED_WITHIN_S} s: {sessions}"
        time.sleep(POLL_INTERVAL_S)
