"""What a native build holds beside Python packages: CPython, Nuitka's run-time code, and C libraries.

A C library is in the build as a file, or inside of a module, or of CPython itself, where the module is built in.  The
C library of the system is never shipped.  Texts that no installed package brings are in licence_texts/.
"""

import importlib
import platform
import re
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

import msgspec

from build_report import BuildReport
from kilometers.licences import LICENCE_FILE, Component, plain_text

HERE = Path(__file__).parent
TEXTS = HERE / "licence_texts"
APACHE = HERE.parent / "LICENSE"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A C library, and what shows that it is in."""

    name: str
    licence: str
    homepage: str
    text: str
    """A file in licence_texts/."""
    modules: frozenset[str] = frozenset()
    """The modules that use it."""
    libraries: str = r"(?!)"
    """A pattern of its files' names."""
    version_at: tuple[str, str] = ("", "")
    """The module and its attribute, or function, that know the version, if any does."""


PARTS = (
    Part(
        name="OpenSSL",
        licence="Apache-2.0",
        homepage="https://openssl-library.org",
        text="openssl.txt",
        modules=frozenset({"_ssl", "_hashlib"}),
        libraries=r"lib(ssl|crypto)\b.*",
        version_at=("ssl", "OPENSSL_VERSION"),
    ),
    Part(
        name="SQLite",
        licence="blessing",
        homepage="https://sqlite.org",
        text="sqlite.txt",
        modules=frozenset({"apsw", "_sqlite3"}),
        libraries=r"(lib)?sqlite3\b.*",
        version_at=("apsw", "sqlite_lib_version"),
    ),
    Part(
        name="libffi",
        licence="MIT",
        homepage="https://sourceware.org/libffi",
        text="libffi.txt",
        modules=frozenset({"_ctypes"}),
        libraries=r"libffi\b.*",
    ),
    Part(
        name="zlib",
        licence="Zlib",
        homepage="https://zlib.net",
        text="zlib.txt",
        modules=frozenset({"zlib", "binascii"}),
        libraries=r"(libz|zlib1?)\b.*",
        version_at=("zlib", "ZLIB_RUNTIME_VERSION"),
    ),
    Part(
        name="bzip2",
        licence="bzip2-1.0.6",
        homepage="https://sourceware.org/bzip2",
        text="bzip2.txt",
        modules=frozenset({"_bz2"}),
        libraries=r"libbz2\b.*",
    ),
    Part(
        name="XZ Utils (liblzma)",
        licence="0BSD",
        homepage="https://tukaani.org/xz",
        text="xz.txt",
        modules=frozenset({"_lzma"}),
        libraries=r"liblzma\b.*",
    ),
    Part(
        name="Zstandard",
        licence="BSD-3-Clause",
        homepage="https://facebook.github.io/zstd",
        text="zstandard.txt",
        modules=frozenset({"_zstd"}),
        libraries=r"libzstd\b.*",
        version_at=("_zstd", "zstd_version"),
    ),
    Part(
        name="Expat",
        licence="MIT",
        homepage="https://libexpat.github.io",
        text="expat.txt",
        modules=frozenset({"pyexpat", "_elementtree"}),
        libraries=r"libexpat\b.*",
        version_at=("pyexpat", "EXPAT_VERSION"),
    ),
    Part(
        name="mpdecimal",
        licence="BSD-2-Clause",
        homepage="https://www.bytereef.org/mpdecimal",
        text="mpdecimal.txt",
        modules=frozenset({"_decimal"}),
        libraries=r"libmpdec\b.*",
        version_at=("_decimal", "__libmpdec_version__"),
    ),
    Part(
        name="libuuid",
        licence="BSD-3-Clause",
        homepage="https://github.com/util-linux/util-linux",
        text="libuuid.txt",
        # macOS and Windows make UUIDs by themselves.
        modules=frozenset({"_uuid"} if sys.platform == "linux" else ()),
        libraries=r"libuuid\b.*",
    ),
    Part(
        name="ncurses",
        licence="X11-distribute-modifications-variant",
        homepage="https://invisible-island.net/ncurses",
        text="ncurses.txt",
        modules=frozenset({"_curses", "_curses_panel", "readline"}),
        libraries=r"lib(ncurses|panel|tinfo)w?\b.*",
    ),
    Part(
        name="libedit",
        licence="BSD-3-Clause",
        homepage="https://www.thrysoee.dk/editline",
        text="libedit.txt",
        modules=frozenset({"readline"}),
        libraries=r"libedit\b.*",
    ),
    Part(
        name="Microsoft Visual C++ Runtime",
        licence="LicenseRef-Microsoft-Visual-Cpp-Runtime",
        homepage="https://learn.microsoft.com/cpp/windows/latest-supported-vc-redist",
        text="visual-cpp.txt",
        libraries=r"(vcruntime|msvcp|concrt)\d+.*\.dll",
    ),
)
NUITKA = "Nuitka run-time code"
PYTHON_LIBRARY = r"libpython3.*|python3\d*\.dll|Python"
# Modules whose library we must not ship, or could not ship without more notices.
REFUSED = {
    "_dbm": "may hold Berkeley DB, whose licence asks for the source of what uses it",
    "_gdbm": "holds GDBM, which is under the GPL",
    "_tkinter": "holds Tcl/Tk, which km does not use",
    "readline": "may hold GNU Readline, which is under the GPL",
}


def built_in_modules() -> frozenset[str]:
    """Return the modules inside of CPython itself, which come with it whether they are used or not."""
    return frozenset(sys.builtin_module_names)


def has_editline() -> bool:
    """Whether this Python's readline is libedit and not GNU Readline."""
    try:
        readline = importlib.import_module("readline")
    except ImportError:
        return False
    return getattr(readline, "backend", "") == "editline" or "libedit" in (readline.__doc__ or "")


def find_refused(modules: frozenset[str], *, editline: bool) -> list[str]:
    """Return why modules must not be shipped."""
    refused = {name for name in REFUSED if name in modules and not (name == "readline" and editline)}
    return [f"module {name}: {REFUSED[name]}" for name in sorted(refused)]


def find_part(library: str) -> Part | None:
    """Return what a shared library of this file name belongs to."""
    return next((part for part in PARTS if re.fullmatch(part.libraries, library, re.IGNORECASE)), None)


def is_python(library: str) -> bool:
    """Whether a shared library of this file name is CPython itself."""
    return re.fullmatch(PYTHON_LIBRARY, library) is not None


def find_parts(report: BuildReport, built_in: frozenset[str]) -> list[Part]:
    """Return the C libraries that are in a build."""
    modules = report.modules | built_in
    libraries = [file.path.rpartition("/")[2] for file in report.files if file.kind == "library"]
    by_file = {part.name for part in map(find_part, libraries) if part}
    return [part for part in PARTS if part.modules & modules or part.name in by_file]


def read_version(part: Part) -> str:
    """Return the version of a library as this Python knows it: the numbers alone; empty where nobody knows."""
    module_name, attribute = part.version_at
    if not module_name:
        return ""
    value = getattr(importlib.import_module(module_name), attribute, "")
    value = value() if callable(value) else value
    found = re.search(r"\d+(\.\d+)+", value if isinstance(value, str) else "")
    return found[0] if found else ""


def read_part(part: Part) -> Component:
    """Return a C library with its text."""
    texts = [TEXTS / part.text] + ([APACHE] if part.licence == "Apache-2.0" else [])
    return Component(
        name=part.name,
        version=read_version(part),
        licence=part.licence,
        homepage=part.homepage,
        texts=tuple(plain_text(path.read_bytes()) for path in texts),
    )


def read_python() -> Component:
    """Return CPython, with the licence that came with the one that runs this."""
    places = (Path(sysconfig.get_path("stdlib")), Path(sys.base_prefix))
    paths = [place / "LICENSE.txt" for place in places if (place / "LICENSE.txt").exists()]
    return Component(
        name="CPython",
        version=platform.python_version(),
        licence="Python-2.0",
        homepage="https://www.python.org",
        note="It holds software of others: https://docs.python.org/3/license.html",
        texts=tuple(plain_text(path.read_bytes()) for path in paths[:1]),
    )


def read_nuitka() -> Component:
    """Return Nuitka's run-time code; of its licences only the exception touches what it has compiled."""
    package = distribution("nuitka")
    paths = [path for path in package.files or [] if LICENCE_FILE.fullmatch(path.as_posix()) and "RUNTIME" in path.name]
    return Component(
        name=NUITKA,
        version=package.version,
        licence="LicenseRef-AGPL-3.0-with-Nuitka-Runtime-Library-Exception-1.0",
        homepage="https://nuitka.net",
        note="The exception allows what Nuitka has compiled to be passed on under terms of one's choice.",
        texts=tuple(plain_text(path.read_binary()) for path in paths),
    )
