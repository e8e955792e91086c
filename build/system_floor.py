"""Say what built files need of the system that they start on, and refuse what is more than we promise.

    python build/system_floor.py PATH... [--glibc 2.28] [--macos 11.0] [--windows 10.0]

    binary_files.py ──Needs──▶ FLOORS, ALWAYS_THERE, what is shipped with it ──▶ violations

PATH is a file, or a folder with everything that is shipped together.  Of a single file only the launcher is looked at:
check the folder that it carries, too.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from binary_files import NUMBERS, DamagedFile, Need, Needs, read_needs

# The newest that may be asked for.  GLIBC to ZLIB: what manylinux_2_28 promises (PEP 600, auditwheel's policy).
FLOORS = {
    "GLIBC": "2.28",
    "GCC": "7.0.0",
    "GLIBCXX": "3.4.24",
    "CXXABI": "1.3.11",
    "ZLIB": "1.2.9",
    "macOS": "11.0",
    "Windows": "10.0",
}
OLD_BASE = "Build a release on an old base, such as manylinux_2_28"
ADVICE = {
    "GLIBC": OLD_BASE,
    "GCC": OLD_BASE,
    "GLIBCXX": OLD_BASE,
    "CXXABI": OLD_BASE,
    "ZLIB": OLD_BASE,
    "macOS": "Compile it from source with MACOSX_DEPLOYMENT_TARGET={floor}",
    "Windows": "Link it with /SUBSYSTEM:CONSOLE,{floor} and /OSVERSION:{floor}, or an older tool set",
}
# Of what manylinux_2_28 takes for granted: glibc's own, GCC's and zlib, which package managers need.  Not what servers
# lack (X11, GL, GLib, expat), nor libcrypt.so.1 and libnsl.so.1, which new distributions leave out.
ALWAYS_THERE_ELF = r"""
    lib(c|m)\.so\.6 | lib(dl|resolv)\.so\.2 | libpthread\.so\.0 | lib(rt|util|anl|mvec)\.so\.1 | ld-linux[\w.-]*\.so\.\d
    | libgcc_s\.so\.1 | libstdc\+\+\.so\.6 | libz\.so\.1
"""
ALWAYS_THERE_MACH_O = r"/usr/lib/.+ | /System/Library/.+"
# Windows 10 has the API sets and the universal C runtime; the Visual C++ runtime (vcruntime140.dll) it has not.
ALWAYS_THERE_PE = r"""
    (api|ext)-ms-[\w-]+\.dll | (advapi32|bcrypt|bcryptprimitives|cabinet|cfgmgr32|combase|comctl32|comdlg32|crypt32
    |dbghelp|dnsapi|gdi32|imm32|iphlpapi|kernel32|kernelbase|mpr|msi|msvcrt|mswsock|ncrypt|netapi32|ntdll|ole32|oleaut32
    |powrprof|propsys|psapi|rpcrt4|secur32|setupapi|shell32|shlwapi|ucrtbase|user32|userenv|version|winhttp|wininet
    |winmm|ws2_32|wtsapi32)\.dll
"""
ALWAYS_THERE = {"ELF": ALWAYS_THERE_ELF, "Mach-O": ALWAYS_THERE_MACH_O, "PE": ALWAYS_THERE_PE}
LOADER = r"/lib(64)?/ld-linux[\w.-]*\.so\.\d"
SEARCHED = r"(\$ORIGIN|\$\{ORIGIN\}|@loader_path|@executable_path|/usr/lib(64)?|/lib(64)?|/System/Library)(/.*)?"
ASKING_SHOWN = 3


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is below one path."""

    needs: tuple[Needs, ...]
    problems: tuple[str, ...]
    """Files that cannot be read, or that there are none."""
    names: frozenset[str]
    """What is shipped."""


def survey(path: Path) -> Survey:
    """Read every binary at or below *path*."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    found: list[Needs] = []
    problems: list[str] = []
    for file in files:
        try:
            needs = read_needs(file)
        except (DamagedFile, OSError) as error:
            problems.append(f"{file}: {error}. Build it again")
        else:
            found += [needs] if needs else []
    if not found and not problems:
        problem = "holds no binary" if path.exists() else "is not there"
        problems.append(f"{path}: {problem}. Name what the build has made")
    return Survey(needs=tuple(found), problems=tuple(problems), names=frozenset(file.name for file in files))


def violations(path: Path, floors: Mapping[str, str] = FLOORS) -> list[str]:
    """Return what at or below *path* would not start on the systems that we promise: which file, why, what to do."""
    return list(judge(survey(path), floors))


def judge(found: Survey, floors: Mapping[str, str]) -> Iterator[str]:
    """Say what is wrong with what was found."""
    yield from found.problems
    for needs in found.needs:
        for objection in (*judge_versions(needs, found.names, floors), *judge_libraries(needs, found.names)):
            yield f"{needs.file}: {objection}"


def judge_versions(needs: Needs, shipped: frozenset[str], floors: Mapping[str, str]) -> Iterator[str]:
    """Say which versions are too new; a library that is shipped brings its own."""
    for need in highest(need for need in needs.versions if need.library not in shipped):
        floor = floors[need.of]
        if need.order() > Need(need.of, floor).order():
            advice = ADVICE[need.of].format(floor=floor)
            if need.is_number():
                advice += f"; for systems as new as this one: --{need.of.lower()} {need.version}"
            yield f"needs {need.of} {need.version}{asking(need)}, and {floor} is promised. {advice}"


def highest(needs: Iterable[Need]) -> list[Need]:
    """Return the newest need of each thing that has a floor, in their order."""
    newest: dict[str, Need] = {}
    for need in needs:
        if need.of not in newest or need.order() > newest[need.of].order():
            newest[need.of] = need
    return [newest[of] for of in FLOORS if of in newest]


def asking(need: Need) -> str:
    """Return who asks for it, in brackets."""
    shown, more = need.asked_by[:ASKING_SHOWN], len(need.asked_by) - ASKING_SHOWN
    names = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return f" ({names})" if names else ""


def judge_libraries(needs: Needs, shipped: frozenset[str]) -> Iterator[str]:
    """Say which libraries, and which loader, are not sure to be found."""
    for library in needs.libraries:
        if not is_there(library, needs.kind, shipped):
            yield f"needs {library}, which is neither shipped nor on every system. Ship it too, or link it in"
    if needs.loader and not re.fullmatch(LOADER, needs.loader):
        yield f"is loaded by {needs.loader}, which only some systems have. Link it for glibc"
    for folder in needs.search:
        if not re.fullmatch(SEARCHED, folder):
            yield (
                f'looks for libraries in "{folder}" of the machine that built it, where somebody else could put some.'
                f" Make that {'@loader_path' if needs.kind == 'Mach-O' else '$ORIGIN'}, or remove it"
            )


def is_there(library: str, kind: str, shipped: frozenset[str]) -> bool:
    """Whether the loader finds *library*: in the system, or where the file says that it is shipped."""
    ignoring_case = re.IGNORECASE if kind == "PE" else re.NOFLAG
    if re.fullmatch(ALWAYS_THERE[kind], library, ignoring_case | re.VERBOSE):
        return True
    if kind == "PE":
        return library.lower() in {name.lower() for name in shipped}
    folder, _, name = library.rpartition("/")
    return name in shipped and folder.startswith("@" if kind == "Mach-O" else "$ORIGIN" if folder else "")


def rows(found: Survey) -> list[str]:
    """Return a line for each file: what it needs of the system, for which processor; the most demanding first."""
    table = [(highest(needs.versions), needs) for needs in found.needs]
    table.sort(key=lambda row: [(need.of, need.order()) for need in row[0]], reverse=True)
    return [
        f"{', '.join(f'{need.of} {need.version}' for need in newest) or 'nothing':<24}  "
        f"{'+'.join(needs.machines):<12}  {needs.file}{''.join(map(asking, newest[:1]))}"
        for newest, needs in table
    ]


def version(text: str) -> str:
    """Return *text* if it is a version.  Raises argparse.ArgumentTypeError."""
    if not re.fullmatch(NUMBERS, text):
        raise argparse.ArgumentTypeError(f'"{text}" is no version. Write numbers and dots, such as 2.28')
    return text


def main(arguments: list[str]) -> int:
    """Print what the files need, then what is too much; return the exit status."""
    parser = argparse.ArgumentParser(prog="system_floor.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="a file, or a folder with all that is shipped"
    )
    for of, floor in FLOORS.items():
        parser.add_argument(f"--{of.lower()}", dest=of, type=version, default=floor, help=f"promised; else {floor}")
    chosen = vars(parser.parse_args(arguments))
    surveys = [survey(path) for path in chosen["paths"]]
    print("\n".join(line for found in surveys for line in rows(found)))
    objections = [line for found in surveys for line in judge(found, chosen)]
    for objection in objections:
        print(f"system_floor: {objection}", file=sys.stderr)
    return 1 if objections else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
