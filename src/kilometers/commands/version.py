"""`km version`: what this km is, and the licences of what it is made of."""

import os
import platform

import apsw
import msgspec

from kilometers import __version__, console
from kilometers.errors import EXIT_USAGE, KilometersError
from kilometers.program import find_build, own_command, program_file


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What the command prints."""

    version: str
    """km's own version."""
    build: str
    """What km was installed as: "Python package", "native folder" or "single file"."""
    python: str
    """The version of Python that runs it."""
    sqlite: str
    """The version of SQLite that keeps the store."""
    platform: str
    """The operating system and the processor."""
    executable: str
    """The program that runs km."""


def run(*, as_json: bool, with_licences: bool = False) -> None:
    """Print the version and what it runs on, or the licences of what it is made of."""
    if with_licences:
        print_licences(as_json=as_json)
        return
    facts = Version(
        version=__version__,
        build=find_build().value,
        python=platform.python_version(),
        sqlite=apsw.sqlite_lib_version(),
        platform=f"{platform.system()} {platform.machine()}",
        executable=own_command()[0],
    )
    if as_json:
        console.print_json(facts)
        return
    console.write_line(f"km {facts.version}, {facts.build}")
    console.write_line(f"Python {facts.python}, SQLite {facts.sqlite}, {facts.platform}")


def print_licences(*, as_json: bool) -> None:
    """Print THIRD-PARTY-NOTICES of the native build, else the same of the installed packages."""
    from kilometers import licences  # it reads packages' metadata, which no other command needs

    if as_json:
        raise KilometersError(
            "--licenses prints a text, not JSON.",
            "For programs each release has an SBOM, km-<version>-<target>.cdx.json.",
            exit_status=EXIT_USAGE,
        )
    program = program_file()
    notices = licences.read_notices(os.path.dirname(program)) if program else licences.installed_notices()
    console.write_line(notices.rstrip("\n"))
