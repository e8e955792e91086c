"""Start-up: from the exec of a command to the server's first instruction; and `km demo` from its first to its last."""

import subprocess
import sys
import time

import msgspec

from bench.figures import MILLISECOND_NS, Figure, median, milliseconds
from bench.sessions import Run

NATIVE_TARGETS_NS = {"native folder": 40 * MILLISECOND_NS, "single file": 70 * MILLISECOND_NS}
DEMO_TARGET_NS = 5_000 * MILLISECOND_NS
EXEC_FROM_PYTHON = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"


class Started(msgspec.Struct):
    """The params of exec_clock's notification."""

    took_ns: int


class Notification(msgspec.Struct):
    """What exec_clock says when it is reached."""

    params: Started


def measure(run: Run) -> list[Figure]:
    """Start the server each way in turns; a session that stays keeps the recorder alive meanwhile."""
    wrappers = run.programs.wrappers("direct", "bare", "km", *NATIVE_TARGETS_NS)
    # What the interpreter alone takes: a Python relay cannot be faster.
    wrappers["Python"] = [sys.executable, "-I", "-S", "-c", EXEC_FROM_PYTHON]
    run.start_clients(200, "km")
    for wrapper in wrappers.values():
        start_once(run, wrapper)
    taken_ns: dict[str, list[int]] = {name: [] for name in wrappers}
    for _ in range(run.pick(15, 4)):
        for name, wrapper in wrappers.items():
            taken_ns[name].append(start_once(run, wrapper))
        run.settle()
    started = (compare(name, taken_ns, run) for name in taken_ns)
    return [*started, *measure_version(run, wrappers), *measure_demo(run)]


def start_once(run: Run, wrapper: list[str]) -> int:
    """Return the nanoseconds from the exec of *wrapper* to the server's start."""
    clock = run.programs.exec_clock
    command = [clock, "start", *wrapper, clock, "stop"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=run.environment(), check=True)
    return msgspec.json.decode(ended.stdout.splitlines()[0], type=Notification).params.took_ns


def compare(name: str, taken_ns: dict[str, list[int]], run: Run) -> Figure:
    """Return one way of starting beside plain Python's, which execs at once.  The targets are the native km's."""
    middle_ns, python_ns = median(taken_ns[name]), median(taken_ns["Python"])
    target_ns = NATIVE_TARGETS_NS.get(name)
    shown = {"km": "km" if run.programs.is_km_native else "km as a script", "bare": "C relay"}.get(name, name)
    return Figure(
        what=f"start-up, {shown}",
        value=milliseconds(middle_ns),
        baseline=f"Python {milliseconds(python_ns)}",
        ratio=middle_ns / python_ns,
        target=f"≤ {milliseconds(target_ns)}" if target_ns else "",
        is_met=middle_ns <= target_ns if target_ns else None,
    )


def measure_version(run: Run, wrappers: dict[str, list[str]]) -> list[Figure]:
    """Time `km --version` of each km beside `python --version`-like work: an interpreter that ends at once."""
    python_ns = median([time_command(run, [sys.executable, "-I", "-S", "-c", "pass"]) for _ in range(run.pick(15, 3))])
    figures = []
    for name in ("km", *NATIVE_TARGETS_NS):
        if name in wrappers:
            taken_ns = median([time_command(run, [wrappers[name][0], "--version"]) for _ in range(run.pick(15, 3))])
            figures.append(
                Figure(
                    what=f"{name} --version",
                    value=milliseconds(taken_ns),
                    baseline=f"python -c pass {milliseconds(python_ns)}",
                    ratio=taken_ns / python_ns,
                )
            )
    return figures


def measure_demo(run: Run) -> list[Figure]:
    """Time the demo, which is a newcomer's first impression, beside the smallest command."""
    if run.programs.km is None:
        return []
    demo_ns, version_ns = (
        median([time_command(run, [run.programs.km, command]) for _ in range(run.pick(5, 1))])
        for command in ("demo", "version")
    )
    return [
        Figure(
            what="km demo",
            value=milliseconds(demo_ns),
            baseline=f"km version {milliseconds(version_ns)}",
            ratio=demo_ns / version_ns,
            target=f"≤ {milliseconds(DEMO_TARGET_NS)}",
            is_met=demo_ns <= DEMO_TARGET_NS,
        )
    ]


def time_command(run: Run, command: list[str]) -> int:
    """Return the nanoseconds until a command has ended."""
    start_ns = time.monotonic_ns()
    subprocess.run(command, env=run.environment(), stdout=subprocess.DEVNULL, check=True)
    return time.monotonic_ns() - start_ns
