"""Small binaries, made as their formats say: Mach-O, PE and ELF for other processors than those the tests run on."""

import struct

X86_64, ARM64 = 0x01000007, 0x0100000C
MACOS, CATALYST = 1, 6
LC_SEGMENT_64, LC_BUILD_VERSION, LC_VERSION_MIN_MACOSX, LC_RPATH = 0x19, 0x32, 0x24, 0x8000001C
LC_LOAD_DYLIB, LC_LOAD_WEAK_DYLIB = 0xC, 0x80000018


def load_command(kind: int, fields: bytes) -> bytes:
    """<mach-o/loader.h>: struct load_command, padded to 8 bytes."""
    padded = fields + bytes(-len(fields) % 8)
    return struct.pack("<II", kind, 8 + len(padded)) + padded


def packed(version: str) -> int:
    """<mach-o/loader.h>: X.Y.Z is xxxx.yy.zz in nibbles."""
    major, minor, patch = (*map(int, version.split(".")), 0)[:3]
    return major << 16 | minor << 8 | patch


def build_version(version: str, platform: int = MACOS) -> bytes:
    return load_command(LC_BUILD_VERSION, struct.pack("<IIII", platform, packed(version), packed("15.0"), 0))


def minimum_version(version: str) -> bytes:
    return load_command(LC_VERSION_MIN_MACOSX, struct.pack("<II", packed(version), packed("15.0")))


def dylib(path: str, kind: int = LC_LOAD_DYLIB) -> bytes:
    """struct dylib_command: the path stands behind it."""
    return load_command(kind, struct.pack("<IIII", 24, 0, 0x10000, 0x10000) + path.encode() + b"\0")


def rpath(path: str) -> bytes:
    return load_command(LC_RPATH, struct.pack("<I", 12) + path.encode() + b"\0")


def mach_o(*commands: bytes, processor: int = ARM64) -> bytes:
    """struct mach_header_64 with the load commands and one segment that is the whole file."""
    contents = bytes(64)
    commands_bytes = len(b"".join(commands)) + 72
    whole = struct.pack("<16sQQQQIIII", b"__TEXT", 0, 0x1000, 0, 32 + commands_bytes + len(contents), 5, 5, 0, 0)
    body = b"".join((load_command(LC_SEGMENT_64, whole), *commands))
    return struct.pack("<IIIIIIII", 0xFEEDFACF, processor, 0, 2, 1 + len(commands), len(body), 0, 0) + body + contents


def universal(*parts: tuple[int, bytes]) -> bytes:
    """<mach-o/fat.h>: the processors, big-endian, then a whole file for each."""
    offset = 8 + 20 * len(parts)
    head, body = struct.pack(">II", 0xCAFEBABE, len(parts)), b""
    for processor, part in parts:
        head += struct.pack(">IIIII", processor, 0, offset + len(body), len(part), 0)
        body += part
    return head + body


def pe(*libraries: str, subsystem: tuple[int, int] = (6, 0), system: tuple[int, int] = (6, 0)) -> bytes:
    """Microsoft, "PE Format": a 64-bit image whose one section, at 0x1000 of memory, is its imports."""
    names, table = b"", b""
    for library in libraries:
        symbols_at = 0x1000 + 20 * (len(libraries) + 1)
        table += struct.pack("<IIIII", symbols_at, 0, 0, symbols_at + 16 + len(names), symbols_at)
        names += library.encode() + b"\0"
    first_symbol = struct.pack("<QQ", 1 << 63 | 1, 0)  # by its number
    section = (table + bytes(20) + first_symbol + names).ljust(512, b"\0")
    dos = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64)
    header = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 1, 0, 0, 0, 240, 0x22)
    optional = struct.pack("<HBBIIIII", 0x20B, 14, 0, 0, 512, 0, 0, 0x1000)
    optional += struct.pack("<QIIHHHHHH", 0x140000000, 0x1000, 512, *system, 0, 0, *subsystem)
    optional += struct.pack("<IIIIHHQQQQII", 0, 0x2000, 512, 0, 3, 0, 0x100000, 0x1000, 0x100000, 0x1000, 0, 16)
    optional += struct.pack("<IIII", 0, 0, 0x1000, 20 * (len(libraries) + 1)).ljust(128, b"\0")
    sections = struct.pack("<8sIIIIIIHHI", b".idata", 512, 0x1000, 512, 512, 0, 0, 0, 0, 0x40000040)
    return (dos + header + optional + sections).ljust(512, b"\0") + section


def elf(loader: str = "/lib/ld-linux.so.2") -> bytes:
    """elf(5): a 32-bit, big-endian program for PowerPC with nothing but the segment that names its loader."""
    path = loader.encode() + b"\0"
    identity = b"\x7fELF" + bytes((1, 2, 1)) + bytes(9)
    header = struct.pack(">HHIIIIIHHHHHH", 2, 20, 1, 0, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    return identity + header + struct.pack(">IIIIIIII", 3, 84, 0, 0, len(path), len(path), 4, 1) + path
