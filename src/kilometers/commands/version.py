"""`km version`: what this km is."""

import platform
import sys

import apsw
import msgspec

from kilometers import __version__, console


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What the command prints."""

    version: str
    """km's own version."""
    python: str
    """The version of Python that runs it."""
    sqlite: str
    """The version of SQLite that keeps the store."""
    platform: str
    """The operating system and the processor."""
    executable: str
    """The program that runs km."""


def run(*, as_json: bool) -> None:
    """Print the version and what it runs on."""
    facts = Version(
        version=__version__,
        python=platform.python_version(),
        sqlite=apsw.sqlite_lib_version(),
        platform=f"{platform.system()} {platform.machine()}",
        executable=sys.executable,
    )
    if as_json:
        console.print_json(facts)
        return
    console.write_line(f"km {facts.version}")
    console.write_line(f"Python {facts.python}, SQLite {facts.sqlite}, {facts.platform}")
