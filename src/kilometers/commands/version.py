"""`km version`: what this km is."""

import platform
import sys

import apsw

from kilometers import __version__, console


def run(*, as_json: bool) -> None:
    """Print the version and what it runs on."""
    facts = {
        "version": __version__,
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "executable": sys.executable,
    }
    if as_json:
        console.print_json(facts)
        return
    console.write_line(f"km {facts['version']}")
    console.write_line(f"Python {facts['python']}, SQLite {facts['sqlite']}, {facts['platform']}")
