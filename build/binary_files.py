"""What a binary says it needs to be loaded: ELF (Linux), Mach-O (macOS), PE (Windows), for any processor.

    file ──its first bytes──▶ kind ──pyelftools, macholib, pefile──▶ Needs

No tool of the system is asked, so each can be read on each.  What keeps a file from being loaded counts: a weak or lazy
library does not, nor one that a program opens later by its name.  Judged by system_floor.py.
"""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pefile  # type: ignore[import-untyped]  # has no types
from elftools.elf.dynamic import DynamicSegment, DynamicTag
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection, GNUVerSymSection
from elftools.elf.segments import InterpSegment
from macholib import mach_o  # type: ignore[import-untyped]  # has no types
from macholib.MachO import MachO, lc_str_value  # type: ignore[import-untyped]  # has no types

MAGICS = {
    b"\x7fELF": "ELF",
    b"\xfe\xed\xfa\xce": "Mach-O",
    b"\xce\xfa\xed\xfe": "Mach-O",
    b"\xfe\xed\xfa\xcf": "Mach-O",  # 64 bits
    b"\xcf\xfa\xed\xfe": "Mach-O",
    b"\xca\xfe\xba\xbe": "Mach-O",  # universal
    b"\xca\xfe\xba\xbf": "Mach-O",  # universal, 64 bits
}
MACOS = 1  # PLATFORM_MACOS; <mach-o/loader.h>
HARD_LOADS = {mach_o.LC_LOAD_DYLIB, mach_o.LC_REEXPORT_DYLIB, mach_o.LC_LOAD_UPWARD_DYLIB}
SEGMENTS = {mach_o.LC_SEGMENT, mach_o.LC_SEGMENT_64}
IMPORTS = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_IMPORT"]
MOST_VERSIONS = 10_000  # real files have dozens; a damaged one may claim 2**32 that all lie in one place
NUMBERS = r"\d+(\.\d+)*"
# Of macholib and pefile, which have no types: a MachOHeader, its commands, an optional header.
Part = Any
Command = tuple[Any, Any, bytes]
OptionalHeader = Any


class DamagedFile(Exception):
    """A file begins as a binary does, and cannot be read as one."""


class Need(msgspec.Struct, frozen=True):
    """A version of something that has to be there."""

    of: str
    """GLIBC, GCC, …; macOS; Windows."""
    version: str
    """What is no number (`PRIVATE`, `ABI_DT_RELR`, `unknown`) counts as newer than every number."""
    asked_by: tuple[str, ...] = ()
    """Symbols, header fields, or the processors of a universal file."""
    library: str = ""
    """Who has to provide it; "" = the system itself."""

    def is_number(self) -> bool:
        """Whether the version consists of numbers and dots."""
        return bool(re.fullmatch(NUMBERS, self.version))

    def order(self) -> tuple[bool, tuple[int, ...]]:
        """Return what versions of one thing are compared by."""
        if not self.is_number():
            return True, ()
        return False, tuple(map(int, re.sub(r"(\.0+)+$", "", self.version).split(".")))


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What one file needs."""

    file: Path
    kind: str
    machines: tuple[str, ...]
    versions: tuple[Need, ...]
    libraries: tuple[str, ...]
    loader: str = ""
    """The program that loads it: the interpreter of an ELF file."""
    search: tuple[str, ...] = ()
    """The folders in which libraries are looked for first: RUNPATH, RPATH."""


def read_needs(file: Path) -> Needs | None:
    """Return what *file* needs; None = it is no binary.  Raises DamagedFile and OSError."""
    with file.open("rb") as stream:
        magic = stream.read(4)
    kind = "PE" if magic.startswith(b"MZ") else MAGICS.get(magic)
    if kind is None:
        return None
    read = {"ELF": read_elf, "Mach-O": read_mach_o, "PE": read_pe}[kind]
    try:
        return read(file)
    except DamagedFile:
        raise
    except Exception as error:  # what is damaged makes the libraries raise whatever they stumble upon
        raise DamagedFile(f"cannot be read as {kind} ({type(error).__name__}: {error})") from error


def read_elf(file: Path) -> Needs:
    """Read an ELF file; its format: elf(5)."""
    with file.open("rb") as stream:
        elf = ELFFile(stream)
        segments = list(elf.iter_segments())
        tags = [tag for segment in segments if isinstance(segment, DynamicSegment) for tag in segment.iter_tags()]
        versions = list(read_elf_versions(elf))
        if not versions and any(tag.entry.d_tag == "DT_VERNEED" for tag in tags):
            raise DamagedFile("has versions, but no section that lists them")
        return Needs(
            file=file,
            kind="ELF",
            machines=(elf.get_machine_arch(),),
            versions=tuple(versions),
            libraries=read_elf_names(tags, "needed"),
            loader="".join(segment.get_interp_name() for segment in segments if isinstance(segment, InterpSegment)),
            search=tuple(folder for text in read_elf_names(tags, "rpath", "runpath") for folder in text.split(":")),
        )


def read_elf_names(tags: list[DynamicTag], *kinds: str) -> tuple[str, ...]:
    """Return the names that the tags DT_NEEDED, DT_RPATH or DT_RUNPATH hold."""
    return tuple(str(getattr(tag, kind)) for kind in kinds for tag in tags if hasattr(tag, kind))


def read_elf_versions(elf: ELFFile) -> Iterator[Need]:
    """Yield the versions that an ELF file needs (.gnu.version_r), each with the symbols that ask for it.

    Source: U. Drepper, "ELF Symbol Versioning".
    """
    sections = list(elf.iter_sections())
    symbols = read_elf_symbols([section for section in sections if isinstance(section, GNUVerSymSection)])
    count = 0
    for section in (section for section in sections if isinstance(section, GNUVerNeedSection)):
        for library, versions in section.iter_versions():
            for each in versions:
                count += 1
                if count > MOST_VERSIONS:
                    raise DamagedFile("claims more versions than it can hold")
                of, _, version = each.name.partition("_")
                yield Need(of, version, tuple(symbols.get(each["vna_other"], ())), library.name or "")


def read_elf_symbols(sections: list[GNUVerSymSection]) -> dict[int, list[str]]:
    """Return the symbols (.gnu.version) by the number of their version."""
    symbols: dict[int, list[str]] = {}
    for section in sections:
        for symbol in section.iter_symbols():
            symbols.setdefault(symbol["ndx"], []).append(symbol.name)
    return symbols


def read_mach_o(file: Path) -> Needs:
    """Read a Mach-O file, universal or not; its format: <mach-o/loader.h> and <mach-o/fat.h>."""
    parts = MachO(str(file), allow_unknown_load_commands=True).headers
    commands = [command for part in parts for command in part.commands]
    if not parts or any(is_cut_off(part, file.stat().st_size) for part in parts):
        raise DamagedFile("is cut off")
    return Needs(
        file=file,
        kind="Mach-O",
        machines=tuple(map(processor, parts)),
        versions=tuple(map(read_mach_o_version, parts)),
        libraries=tuple(dict.fromkeys(read_path(each, "name") for each in commands if each[0].cmd in HARD_LOADS)),
        search=tuple(dict.fromkeys(read_path(each, "path") for each in commands if each[0].cmd == mach_o.LC_RPATH)),
    )


def read_path(command: Command, field: str) -> str:
    """Return the path that *field* of a load command points at."""
    return str(lc_str_value(getattr(command[1], field), command).split(b"\0")[0].decode())


def is_cut_off(part: Part, size_bytes: int) -> bool:
    """Whether one processor's part of a Mach-O file promises more than the file holds."""
    segments = [command for load, command, _ in part.commands if load.cmd in SEGMENTS]
    ends = [segment.fileoff + segment.filesize for segment in segments]
    return bool(part.offset + max([part.size, *ends]) > size_bytes)


def processor(part: Part) -> str:
    """Return the name of the processor that a part of a Mach-O file is for."""
    return str(mach_o.CPU_TYPE_NAMES.get(part.header.cputype, part.header.cputype))


def read_mach_o_version(part: Part) -> Need:
    """Return which macOS one processor's part needs."""
    version = "unknown"
    for load, command, _ in part.commands:
        if load.cmd == mach_o.LC_VERSION_MIN_MACOSX:
            version = unpack_version(int(command.version))
        elif load.cmd == mach_o.LC_BUILD_VERSION and command.platform == MACOS:
            version = unpack_version(int(command.minos))
    return Need("macOS", version, (processor(part),))


def unpack_version(packed: int) -> str:
    """Return the version that <mach-o/loader.h> packs as xxxx.yy.zz."""
    return f"{packed >> 16}.{packed >> 8 & 0xFF}.{packed & 0xFF}".removesuffix(".0")


def read_pe(file: Path) -> Needs:
    """Read a PE file; its format: Microsoft, "PE Format"."""
    with closing(pefile.PE(str(file), fast_load=True)) as image:
        image.parse_data_directories(directories=[IMPORTS])
        header = image.OPTIONAL_HEADER
        imports = getattr(image, "DIRECTORY_ENTRY_IMPORT", [])
        ends = [section.PointerToRawData + section.SizeOfRawData for section in image.sections]
        if max([header.SizeOfHeaders, *ends]) > file.stat().st_size:
            raise DamagedFile("is cut off")
        if warnings := [text for text in image.get_warnings() if "parsing the import" in text]:
            raise DamagedFile(warnings[0].rstrip("."))
        machine = str(pefile.MACHINE_TYPE.get(image.FILE_HEADER.Machine, image.FILE_HEADER.Machine))
        return Needs(
            file=file,
            kind="PE",
            machines=(machine.removeprefix("IMAGE_FILE_MACHINE_"),),
            versions=tuple(read_pe_version(header, field) for field in ("Subsystem", "OperatingSystem")),
            libraries=tuple(each.dll.decode() for each in imports),
        )


def read_pe_version(header: OptionalHeader, field: str) -> Need:
    """Return which Windows a field of the optional header asks for."""
    major, minor = (getattr(header, f"{part}{field}Version") for part in ("Major", "Minor"))
    return Need("Windows", f"{major}.{minor}", (f"Major{field}Version",))
