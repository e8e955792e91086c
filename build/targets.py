"""What is built and how it is called: km-<version>-<target>, the same names in every release.

The targets are those of .github/workflows/release.yml.
"""

import platform
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = {"linux": "linux", "darwin": "macos", "win32": "windows"}
MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
TARGETS = ("linux-x64", "linux-arm64", "macos-x64", "macos-arm64", "windows-x64")


def read_version() -> str:
    """Return km's version from its source: the build's own Python need not have km installed."""
    source = (ROOT / "src" / "kilometers" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    if found is None:
        raise SystemExit("src/kilometers/__init__.py states no __version__.")
    return found[1]


def this_target() -> str:
    """Return the target of this machine.  Raises SystemExit where we release nothing for it."""
    target = f"{SYSTEMS.get(sys.platform, sys.platform)}-{MACHINES.get(platform.machine().lower(), platform.machine())}"
    if target not in TARGETS:
        raise SystemExit(f"{target} is not one of the targets: {', '.join(TARGETS)}.")
    return target


def release_name(version: str, target: str) -> str:
    """Return the name that archives, the folder in them and the single file begin with."""
    return f"km-{version}-{target}"
