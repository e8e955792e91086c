"""A machine without anything but the C library and a shell, as a folder that a test changes its root to."""

import re
import shutil
import subprocess
from pathlib import Path

NEEDED = ("sh", "cat", "env", "ls", "rm", "mkdir", "mount", "chmod", "ln")
# The C library's, and what build/system_floor.py takes for granted beside it.
LIBRARIES = ("libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libresolv.so.2", "libz.so.1")


def libraries_of(file: Path) -> list[Path]:
    """Return the shared libraries that one of the system's own programs needs."""
    listed = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=True).stdout
    return [Path(path) for path in re.findall(r"(?:=> |\t)(/\S+)", listed)]


class BareMachine:
    """No Python, no certificates, no users, no /dev/fd, no /usr/share."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("bin", "dev", "proc", "root", "tmp", "var/tmp"):
            (root / folder).mkdir(parents=True)
        programs = [Path(shutil.which(name) or name) for name in NEEDED]
        for program in programs:
            shutil.copy(program.resolve(), root / "bin" / program.name)
        needed = {path for program in programs for path in libraries_of(program)}
        libc = next(path for path in needed if path.name == "libc.so.6")
        for path in needed | {libc.with_name(name) for name in LIBRARIES if libc.with_name(name).exists()}:
            (root / path.parent.relative_to("/")).mkdir(parents=True, exist_ok=True)
            shutil.copy(path.resolve(), root / path.relative_to("/"))
        (root / "dev" / "null").touch()

    def install(self, program: Path) -> None:
        """Put a native km into its PATH: the single file, or the whole folder."""
        if (program.parent / "THIRD-PARTY-NOTICES").exists():
            shutil.copytree(program.parent, self.root / "opt")
            (self.root / "bin" / "km").symlink_to("/opt/km")
        else:
            shutil.copy(program, self.root / "bin" / "km")

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script of its shell, as a root who has no power outside; HOME is /root."""
        mount = f"mount -t proc proc '{self.root}/proc' && mount --bind /dev/null '{self.root}/dev/null'"
        command = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "sh", "-c"]
        inside = [*command, f'{mount} && exec chroot "$@"', "sh", str(self.root), "/bin/sh", "-c", script]
        environment = {"PATH": "/bin:/usr/bin:/sbin:/usr/sbin", "HOME": "/root"}
        return subprocess.run(inside, env=environment, capture_output=True, text=True, timeout=110, check=False)
