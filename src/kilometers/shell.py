"""Command lines as the user's shell reads them, for messages that are to be typed."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence

from kilometers.program import typed_program


def join(command: Sequence[str]) -> str:
    """Return a command line."""
    return subprocess.list2cmdline(command) if sys.platform == "win32" else shlex.join(command)


def quote(word: str) -> str:
    """Return one word of a command line."""
    return join([word])


def typed_km() -> str:
    """Return km as the user called it, so that what is printed can be typed again."""
    typed = typed_program()
    if os.path.basename(typed) == "__main__.py":
        return join([sys.executable, "-m", "kilometers"])
    in_path = shutil.which("km")
    files = [file for file in (typed, f"{typed}.exe") if os.path.exists(file)]  # Windows leaves the ending out
    is_in_path = in_path is not None and any(os.path.samefile(in_path, file) for file in files)
    return "km" if is_in_path else join([typed])
