"""The readers on small files that are made here, as their formats say, and on those that this Python is made of."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import system_floor
from system_floor import FLOORS, is_there, survey, violations
from unit.binaries import (
    ARM64,
    CATALYST,
    LC_LOAD_WEAK_DYLIB,
    X86_64,
    build_version,
    dylib,
    elf,
    mach_o,
    minimum_version,
    pe,
    rpath,
    universal,
)

SCRIPT = Path(system_floor.__file__)
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="cc makes ELF files there only")


def write(folder: Path, **files: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return folder


def compile_c(folder: Path, name: str, source: str, *options: str) -> Path:
    """Compile *source* into *folder*/*name* with cc."""
    folder.mkdir(exist_ok=True)
    code = folder.parent / f"{name}.c"
    code.write_text(source)
    subprocess.run(["cc", "-o", str(folder / name), str(code), *options], check=True, timeout=60)
    return folder / name


@pytest.fixture
def future(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a program that asks the library *name* for `later` of GLIBC_2.99."""

    def make(name: str) -> Path:
        versions = tmp_path / "versions"
        versions.write_text("GLIBC_2.2.5 { earlier; };\nGLIBC_2.99 { later; } GLIBC_2.2.5;\n")
        library = compile_c(
            tmp_path / "libraries",
            name,
            "int earlier(void) { return 1; }\nint later(void) { return 2; }",
            "-shared",
            f"-Wl,--version-script={versions},-soname,{name}",
        )
        source = "int earlier(void);\nint later(void);\nint main(void) { return earlier() + later(); }"
        return compile_c(tmp_path / "shipped", "program", source, str(library))

    return make


@ON_LINUX
def test_new_glibc_symbol_is_refused_with_who_asks_and_what_to_do(future: Callable[[str], Path]) -> None:
    program = future("libm.so.6")

    (found,) = violations(program)

    assert found.startswith(
        f"{program}: needs GLIBC 2.99 (later), and 2.28 is promised. Build a release on an old base"
    )
    assert "--glibc 2.99" in found
    assert violations(program, {**FLOORS, "GLIBC": "2.99"}) == []


@ON_LINUX
def test_library_that_is_not_shipped_is_refused_and_brings_its_own_versions(future: Callable[[str], Path]) -> None:
    program = future("libfuture.so.1")
    generous = {**FLOORS, "GLIBC": "2.99"}

    missing = violations(program.parent, generous)
    (program.parent / "libfuture.so.1").write_bytes((program.parents[1] / "libraries/libfuture.so.1").read_bytes())

    assert missing == [
        f"{program}: needs libfuture.so.1, which is neither shipped nor on every system. Ship it too, or link it in"
    ]
    assert not any("later" in found for found in violations(program.parent))
    assert violations(program.parent, generous) == []


@ON_LINUX
def test_private_symbol_of_glibc_is_newer_than_any_version(tmp_path: Path) -> None:
    versions = tmp_path / "versions"
    versions.write_text("GLIBC_PRIVATE { inner; };\n")
    options = ("-shared", f"-Wl,--version-script={versions},-soname,libm.so.6")
    library = compile_c(tmp_path / "libraries", "libm.so.6", "int inner(void) { return 1; }", *options)
    program = compile_c(
        tmp_path / "shipped", "program", "int inner(void);\nint main(void) { return inner(); }", str(library)
    )

    (found,) = violations(program, {**FLOORS, "GLIBC": "99"})

    assert "needs GLIBC PRIVATE (inner)" in found
    assert "--glibc" not in found


@ON_LINUX
@pytest.mark.parametrize("tags", ["--enable-new-dtags", "--disable-new-dtags"])
def test_folder_of_the_build_machine_is_refused(tmp_path: Path, tags: str) -> None:
    program = compile_c(tmp_path / "shipped", "program", "int main(void) {}", f"-Wl,{tags},-rpath,$ORIGIN/x:/build/lib")

    (found,) = violations(program, {**FLOORS, "GLIBC": "99"})

    assert 'looks for libraries in "/build/lib"' in found


@ON_LINUX
def test_static_program_needs_nothing(tmp_path: Path) -> None:
    source = "void _start(void) { for (;;); }"
    program = compile_c(tmp_path / "shipped", "program", source, "-static", "-nostdlib")

    (needs,) = survey(program).needs

    assert (needs.versions, needs.libraries, needs.loader, violations(program)) == ((), (), "", [])


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        ("libc.so.6", True),
        ("ld-linux-aarch64.so.1", True),
        ("libstdc++.so.6", True),
        ("libz.so.1", True),
        ("$ORIGIN/lib/shipped.so", True),
        ("/usr/lib/shipped.so", False),
        ("libcrypt.so.1", False),
        ("libssl.so.3", False),
        ("LIBC.SO.6", False),
    ],
)
def test_libraries_of_elf_are_every_system_s_or_shipped(library: str, expected: bool) -> None:  # noqa: FBT001  # pytest passes it by name
    assert is_there(library, "ELF", frozenset({"shipped.so"})) is expected


def test_elf_of_other_word_size_and_byte_order_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path, good=elf(), musl=elf("/lib/ld-musl-powerpc.so.1"))

    good, musl = survey(folder).needs

    assert (good.machines, good.loader, musl.loader) == (
        ("PowerPC",),
        "/lib/ld-linux.so.2",
        "/lib/ld-musl-powerpc.so.1",
    )
    assert [found.split(": ")[1] for found in violations(folder)] == [
        "is loaded by /lib/ld-musl-powerpc.so.1, which only some systems have. Link it for glibc"
    ]


@pytest.mark.parametrize("state", [build_version, minimum_version])
def test_macos_that_is_promised_is_let_through(tmp_path: Path, state: Callable[[str], bytes]) -> None:
    path = write(tmp_path, km=mach_o(state("11.0"), dylib("/usr/lib/libSystem.B.dylib"))) / "km"

    assert (violations(path), violations(path, {**FLOORS, "macOS": "11"})) == ([], [])
    assert [need.version for need in survey(path).needs[0].versions] == ["11.0"]


@pytest.mark.parametrize("state", [build_version, minimum_version])
@pytest.mark.parametrize("version", ["11.0.1", "11.1", "12.0", "26.0"])
def test_newer_macos_is_refused(tmp_path: Path, state: Callable[[str], bytes], version: str) -> None:
    path = write(tmp_path, km=mach_o(state(version))) / "km"

    (found,) = violations(path)

    assert found.startswith(f"{path}: needs macOS {version} (ARM64), and 11.0 is promised. Compile it from source")


@pytest.mark.parametrize("commands", [[], [build_version("11.0", CATALYST)]])
def test_file_that_names_no_macos_is_refused(tmp_path: Path, commands: list[bytes]) -> None:
    (found,) = violations(write(tmp_path, km=mach_o(*commands)))

    assert "needs macOS unknown" in found


def test_every_processor_of_a_universal_file_counts(tmp_path: Path) -> None:
    old = (X86_64, mach_o(minimum_version("10.13"), processor=X86_64))
    new = (ARM64, mach_o(build_version("12.0")))
    folder = write(tmp_path, first=universal(old, new), last=universal(new, old))

    first, last = survey(folder).needs

    assert (first.machines, last.machines) == (("x86_64", "ARM64"), ("ARM64", "x86_64"))
    assert [found.split(", and")[0] for found in violations(folder)] == [
        f"{folder / name}: needs macOS 12.0 (ARM64)" for name in ("first", "last")
    ]


@pytest.mark.parametrize(
    ("path", "is_there"),
    [
        ("/usr/lib/libSystem.B.dylib", True),
        ("/System/Library/Frameworks/Security.framework/Versions/A/Security", True),
        ("@rpath/shipped.dylib", True),
        ("@loader_path/shipped.dylib", True),
        ("@executable_path/lib/shipped.dylib", True),
        ("@rpath/other.dylib", False),
        ("/opt/homebrew/opt/zlib/lib/shipped.dylib", False),
        ("/usr/local/lib/shipped.dylib", False),
        ("shipped.dylib", False),
    ],
)
def test_libraries_of_mach_o_are_the_system_s_or_shipped(tmp_path: Path, path: str, is_there: bool) -> None:  # noqa: FBT001  # pytest passes it by name
    library = mach_o(build_version("11.0"))
    folder = write(tmp_path, km=mach_o(build_version("11.0"), dylib(path)), shipped__dylib=library)

    assert [found.split(", which")[0] for found in violations(folder)] == (
        [] if is_there else [f"{folder / 'km'}: needs {path}"]
    )


def test_weak_library_may_be_absent(tmp_path: Path) -> None:
    weak = dylib("/opt/local/lib/libx.dylib", LC_LOAD_WEAK_DYLIB)

    assert violations(write(tmp_path, km=mach_o(build_version("11.0"), weak))) == []


def test_rpath_of_mach_o_is_relative_to_what_is_shipped(tmp_path: Path) -> None:
    build_folder = rpath("/Users/builder/lib")
    (found,) = violations(write(tmp_path, km=mach_o(build_version("11.0"), rpath("@loader_path/.."), build_folder)))

    assert 'looks for libraries in "/Users/builder/lib"' in found


@pytest.mark.parametrize(
    ("content", "field"),
    [(pe(subsystem=(10, 1)), "MajorSubsystemVersion"), (pe(system=(11, 0)), "MajorOperatingSystemVersion")],
)
def test_newer_windows_is_refused(tmp_path: Path, content: bytes, field: str) -> None:
    (found,) = violations(write(tmp_path, km__exe=content))

    assert f"({field}), and 10.0 is promised. Link it with /SUBSYSTEM:CONSOLE,10.0" in found


def test_windows_that_is_promised_is_let_through(tmp_path: Path) -> None:
    libraries = ("KERNEL32.dll", "api-ms-win-crt-heap-l1-1-0.dll", "Python311.DLL", "VCRUNTIME140.dll")
    program = pe(*libraries, subsystem=(10, 0), system=(10, 0))
    path = write(tmp_path, km__exe=program, python311__dll=pe("ntdll.dll"), vcruntime140__dll=pe())

    assert violations(path) == []
    assert survey(path).needs[0].libraries == libraries
    assert survey(path).needs[0].machines == ("AMD64",)


def test_visual_c_runtime_has_to_be_shipped(tmp_path: Path) -> None:
    (found,) = violations(write(tmp_path, km__exe=pe("KERNEL32.dll", "VCRUNTIME140.dll")))

    assert "needs VCRUNTIME140.dll, which is neither shipped nor on every system" in found


SAMPLES = [
    elf(),
    mach_o(build_version("11.0"), dylib("@rpath/libx.dylib"), rpath("@loader_path")),
    universal((X86_64, mach_o(minimum_version("10.9"), processor=X86_64)), (ARM64, mach_o(build_version("11.0")))),
    pe("KERNEL32.dll", "python311.dll"),
]
# Of this Python: ELF, Mach-O or PE, whatever the tests run on.
REAL = [Path(str(module.__file__)) for module in (msgspec._core, apsw)]
REAL_SAMPLES = [path.read_bytes() for path in REAL]
changes = st.lists(st.tuples(st.integers(0, 4095), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])), max_size=6)


@given(sample=st.sampled_from(SAMPLES + REAL_SAMPLES), changed=changes, kept=st.floats(0, 1))
@example(sample=SAMPLES[0], changed=[(42, 0), (44, 0xFF), (45, 0xFF)], kept=1)  # 65535 segments in one place
def test_damaged_file_is_judged_or_refused_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, sample: bytes, changed: list[tuple[int, int]], kept: float
) -> None:
    damaged = bytearray(sample)
    for position, value in changed:
        damaged[position % len(damaged)] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged[: int(kept * len(damaged))])

    assert all(found.startswith(f"{path}: ") for found in violations(path))


@pytest.mark.parametrize("sample", SAMPLES, ids=["elf", "mach-o", "universal", "pe"])
def test_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path, sample: bytes) -> None:
    path = tmp_path / "cut"
    passed = []
    for size_bytes in range(0, len(sample), 1 + len(sample) // 200):
        path.write_bytes(sample[:size_bytes])
        passed += [] if violations(path) else [size_bytes]

    assert passed == []


@pytest.mark.parametrize("path", REAL, ids=["msgspec", "apsw"])
def test_wheels_of_our_dependencies_meet_the_floor(path: Path) -> None:
    (needs,) = survey(path).needs

    assert needs.libraries
    assert [found for found in violations(path) if "neither shipped" not in found] == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no FIFO files")
def test_only_binaries_are_looked_at(tmp_path: Path) -> None:
    folder = write(tmp_path / "shipped", km=mach_o(build_version("11.0")), LICENSE=b"words", empty=b"")
    os.mkfifo(folder / "fifo")
    (folder / "broken").symlink_to("nowhere")

    assert [needs.file.name for needs in survey(folder).needs] == ["km"]
    assert violations(folder) == []


@pytest.mark.parametrize(("name", "problem"), [("nothing", "is not there"), ("empty", "holds no binary")])
def test_check_that_looks_at_nothing_fails(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "empty").mkdir()

    assert violations(tmp_path / name) == [f"{tmp_path / name}: {problem}. Name what the build has made"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_script_prints_the_most_demanding_first_and_fails(tmp_path: Path) -> None:
    old, new, promised = (mach_o(build_version(version)) for version in ("10.9", "12.0", "11.0"))
    folder = write(tmp_path, a=old, b=new, c=promised)

    refused, allowed = run(folder), run(folder, "--macos", "12.0")

    assert [line.split()[1] for line in refused.stdout.splitlines()] == ["12.0", "11.0", "10.9"]
    assert (refused.returncode, refused.stderr.count("\n"), str(folder / "b") in refused.stderr) == (1, 1, True)
    assert (allowed.returncode, allowed.stderr) == (0, "")


def test_script_refuses_what_is_no_version(tmp_path: Path) -> None:
    ran = run(tmp_path, "--glibc", "new")

    assert (ran.returncode, '"new" is no version' in ran.stderr) == (2, True)
