"""A machine that has the C library and a shell, and nothing else: no Python, no certificates, no users."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NEEDED = ("sh", "cat", "env", "ls", "rm")
LIBRARIES = ("libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libresolv.so.2")
TRY_ALL = r"""
set -e
export HOME=/root PATH=/bin
km version >&2
km demo >&2
echo '{"jsonrpc":"2.0","id":1,"method":"ping"}' | km monitor --name bare -- cat >&2
km events --json
km sessions >&2; km show >&2; km stats >&2; km tail --limit 0 >&2 || true; km status >&2; km config >&2
km export --format csv >&2; km completion bash >&2; km version --licenses >/dev/null
km clear --all --yes >&2
"""


def libraries_of(file: Path) -> list[Path]:
    """Return the shared libraries that the system's own programs need."""
    listed = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=True).stdout
    return [Path(path) for path in re.findall(r"(?:=> |\t)(/\S+)", listed)]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The root of such a machine."""
    root = tmp_path / "bare"
    for folder in ("bin", "dev", "proc", "root", "tmp", "var/tmp"):
        (root / folder).mkdir(parents=True)
    files = {Path(shutil.which(name) or name) for name in NEEDED}
    for file in files:
        shutil.copy(file.resolve(), root / "bin" / file.name)
    libc = next(path for file in files for path in libraries_of(file) if path.name == "libc.so.6")
    loaders = {path for file in files for path in libraries_of(file)}
    for path in (*loaders, *(libc.with_name(name) for name in LIBRARIES if libc.with_name(name).exists())):
        (root / path.parent.relative_to("/")).mkdir(parents=True, exist_ok=True)
        shutil.copy(path.resolve(), root / path.relative_to("/"))
    (root / "dev" / "null").touch()
    return root


def run_on(root: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the machine's shell there, as a root without power outside."""
    mount = f"mount -t proc proc '{root}/proc' && mount --bind /dev/null '{root}/dev/null'"
    command = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "sh", "-c"]
    inside = [*command, f'{mount} && exec chroot "$@"', "sh", str(root), "/bin/sh", "-c", script]
    return subprocess.run(inside, env={}, capture_output=True, text=True, timeout=110, check=False)


def test_everything_works_without_python(bare: Path, program: Path, folder: Path) -> None:
    if program.parent == folder:
        shutil.copytree(folder, bare / "opt")
        (bare / "bin" / "km").symlink_to("/opt/km")
    else:
        shutil.copy(program, bare / "bin" / "km")
    done = run_on(bare, TRY_ALL)

    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["method"] for line in done.stdout.splitlines()] == ["ping", "ping"]
    assert "brew_tea" in done.stderr


def test_roots_of_last_resort_are_carried_along(bare: Path, single_file: Path) -> None:
    shutil.copy(single_file, bare / "bin" / "km")
    done = run_on(bare, "export HOME=/root PATH=/bin; km doctor --json")
    details = [json.loads(line)["detail"] for line in done.stdout.splitlines()]

    assert any(re.search(r"[0-9]+ roots? .*certifi", detail) for detail in details), done.stdout + done.stderr


def test_there_is_no_python_indeed(bare: Path) -> None:
    done = run_on(bare, f"ls /bin; {sys.executable} -c 1")

    assert (done.returncode, "python" in done.stdout) == (127, False)
    assert not os.path.exists(f"{bare}{sys.executable}")
