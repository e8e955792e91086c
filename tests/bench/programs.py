"""The programs that a run measures and measures with: km, and small C programs compiled on the spot."""

import subprocess
from pathlib import Path

import msgspec

SOURCES = Path(__file__).parent
DIST = SOURCES.parents[1] / "dist"
C_PROGRAMS = ("echo_server", "load_client", "bare_relay", "exec_clock")
ELF_MAGIC = b"\x7fELF"


class Programs(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of everything that is run; *km* is None where it is not installed."""

    echo_server: str
    load_client: str
    bare_relay: str
    exec_clock: str
    journal_folder: str
    km: str | None
    native_folder: str | None
    native_single_file: str | None

    @property
    def is_km_native(self) -> bool:
        """Whether km is a compiled program and not a Python script."""
        if self.km is None:
            return False
        with Path(self.km).open("rb") as file:
            return file.read(len(ELF_MAGIC)) == ELF_MAGIC

    def wrappers(self, *names: str) -> dict[str, list[str]]:
        """Return what stands before the server's command: direct, bare, recording, each km that there is."""
        prefixes = {
            "direct": [],
            "bare": [self.bare_relay],
            "recording": [self.bare_relay, "--journal", self.journal_folder],
        }
        if self.km is not None:
            prefixes["km"] = [self.km, "monitor", "--"]
        for name, native in (("native folder", self.native_folder), ("single file", self.native_single_file)):
            if native is not None:
                prefixes[name] = [native, "monitor", "--"]
        return {name: prefixes[name] for name in names if name in prefixes}


def compile_programs(folder: Path, *, journal_folder: str, km: str | None) -> Programs:
    """Compile the C programs into *folder*; find what `nox -s binary` has built."""
    return Programs(
        km=km,
        native_folder=find_built("nuitka/kilometers.dist/km"),
        native_single_file=find_built("km-*-x64", "km-*-arm64"),
        journal_folder=journal_folder,
        **{name: compile_program(name, folder) for name in C_PROGRAMS},
    )


def find_built(*patterns: str) -> str | None:
    """Return the file in dist/, if there is one."""
    return next((str(path) for pattern in patterns for path in DIST.glob(pattern)), None)


def compile_program(name: str, folder: Path) -> str:
    """Compile one program and return its path.  Raises SystemExit with what the compiler said."""
    target = folder / name
    command = ["cc", "-O2", "-Wall", "-Wextra", "-pthread", "-o", str(target), str(SOURCES / f"{name}.c")]
    compiler = subprocess.run(command, capture_output=True, text=True, check=False)
    if compiler.returncode != 0:
        raise SystemExit(compiler.stderr)
    return str(target)
