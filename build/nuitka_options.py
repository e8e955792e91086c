"""What Nuitka is told, as a list with the reason for each."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Option(NamedTuple):
    """One flag and why it is there; *package* names the one it is about, which may not be a dependency yet."""

    flag: str
    reason: str
    package: str = "kilometers"


OPTIONS = (
    Option("--mode=standalone", "a folder that needs no Python; the single file is made of it by build/launcher.c"),
    Option("--deployment", "words such as -c and -m after `km monitor` are the server's, not an attempt to be Python"),
    Option("--python-flag=-m", "the entry is the package's __main__"),
    Option("--python-flag=no_site", "there is no site-packages to look for, and it takes time"),
    Option("--python-flag=isolated", "nothing outside of the folder is imported"),
    Option("--python-flag=safe_path", "nor anything in the current folder, which is the client's"),
    Option("--include-package=kilometers", "commands are imported when they are called, out of Nuitka's sight"),
    Option("--nofollow-import-to=kilometers_api", "the server side is no part of km"),
    Option("--lto=no", "link-time optimisation doubles the build's time; km spends its own in the kernel and in C"),
    Option("--no-progressbar", "for a log"),
    Option("--report-diffable", "two builds are compared"),
    # Docstrings stay: Click and msgspec.Struct read some, and libraries may.  So there is no `no_docstrings` here.
    *(
        Option(f"--nofollow-import-to={name}", "rich draws no source code here; it would bring pygments' 325 modules")
        for name in ("pygments", "rich.markdown", "rich.syntax", "rich.traceback")
    ),
    *(
        Option(f"--nofollow-import-to={name}", "of the standard library; km has no use for it")
        for name in (
            "cgi", "cgitb", "cmd", "code", "crypt", "curses", "dbm", "distutils", "doctest", "ensurepip",
            "ftplib", "idlelib", "imaplib", "lib2to3", "mailbox", "modulefinder", "multiprocessing", "nntplib", "pdb",
            "pickletools", "poplib", "profile", "pydoc", "pydoc_data", "rlcompleter", "smtplib", "socketserver",
            "sqlite3", "tarfile", "telnetlib", "test", "timeit", "tkinter", "trace", "tracemalloc", "turtle",
            "turtledemo", "unittest", "venv", "wsgiref", "xdrlib", "xml", "xmlrpc", "zipapp",
        )
    ),
    Option("--include-module=_bisect", "Nuitka leaves it out, and bisect is slower without"),
    Option("--include-module=_json", "the same, of json"),
    Option("--disable-plugin=multiprocessing", "it is always on and would follow multiprocessing"),
    # Of packages that km may have: their flags are left out until it has them.
    Option("--include-package-data=certifi", "the roots of last resort", package="certifi"),
    Option("--include-package-data=stdnum", "the .dat files that its validators read", package="stdnum"),
    Option("--include-package=stdnum", "its validators are found by name", package="stdnum"),
    *(
        Option(
            f"--nofollow-import-to=phonenumbers.{name}", "megabytes of place and carrier names", package="phonenumbers"
        )
        for name in ("carrier", "carrierdata", "geocoder", "geodata", "timezone", "tzdata")
    ),
)  # fmt: skip

WINDOWS = (
    Option("--mode=onefile", "Windows has no exec, so there the single file is Nuitka's; it leaves the folder as well"),
    Option("--onefile-tempdir-spec={CACHE_DIR}/Kilometers/{VERSION}", "unpacked once, not at every start"),
    Option("--onefile-no-compression", "unpacking is quicker, and the first start is a client waiting for its server"),
    Option("--windows-console-mode=force", "a console program, whoever starts it"),
    Option("--company-name=Kilometers", "version info, which Windows and virus scanners show"),
    Option("--product-name=Kilometers", "the same"),
    Option("--file-description=Kilometers: a flight recorder for MCP", "the same"),
)


def nuitka_options(platform: str, *, version: str, installed: set[str]) -> Iterator[str]:
    """Yield the flags for a build on *platform* (as sys.platform has it) with the *installed* packages."""
    for option in OPTIONS:
        if option.package in {"kilometers", *installed} and not (platform == "win32" and "--mode=" in option.flag):
            yield option.flag
    if platform == "win32":
        yield from (option.flag for option in WINDOWS)
        yield from (f"--product-version={version}", f"--file-version={version}")


def nuitka_command(source: Path, work: Path, report: Path, flags: Iterator[str]) -> list[str]:
    """Return the command line that compiles the package at *source* into *work*."""
    plugin = Path(__file__).with_name("nuitka_plugin.py")
    places = [f"--user-plugin={plugin}", f"--output-dir={work}", "--output-filename=km", f"--report={report}"]
    return [sys.executable, "-m", "nuitka", *flags, *places, str(source)]
