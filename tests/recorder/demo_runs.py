"""Runs of `km demo`, and what its tests share."""

import os
import subprocess
from pathlib import Path
from typing import Any

from recorder.sessions import KM

NOTES = [*KM, "demo-server", "notes"]
CALENDAR = [*KM, "demo-server", "calendar"]


def environment_in(folder: Path) -> dict[str, str]:
    """Everything that a demo could leave behind would be in *folder*."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}


def demo(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*KM, "demo", *command], capture_output=True, text=True, timeout=60, check=False, **options)
