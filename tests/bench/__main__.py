"""Benchmarks of km, each beside its baseline in the same run.

    python tests/bench [--quick] [--km PATH] [NAME ...]

A figure that misses its target is printed as such and fails nothing: machines differ, and this one may be busy.
Needs Linux and a C compiler.  Each benchmark is a module with `measure(run)`, listed below.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

# The folder above this one: the modules find each other as `bench.…`, however the program was started.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import burst, latency, memory, recorder, startup, throughput, views, wakeups, wire_to_store, wire_to_tail
from bench.figures import Figure, print_figures
from bench.programs import Programs, compile_programs
from bench.sessions import Run

BENCHMARKS: dict[str, Callable[[Run], list[Figure]]] = {
    "latency": latency.measure,
    "throughput": throughput.measure,
    "burst": burst.measure,
    "startup": startup.measure,
    "memory": memory.measure,
    "recorder": recorder.measure,
    "wire_to_store": wire_to_store.measure,
    "wire_to_tail": wire_to_tail.measure,
    "views": views.measure,
    "wakeups": wakeups.measure,
}


def find_km(given: str | None) -> str | None:
    """Return the km to measure: the given one, else the one beside this Python."""
    path = Path(given) if given else Path(sys.executable).with_name("km")
    return str(path.absolute()) if path.exists() else None


def run_one(name: str, programs: Programs, *, is_quick: bool) -> list[Figure]:
    """Run one benchmark in a home of its own; what goes wrong becomes a line of the table."""
    print(f"\n{name}", flush=True)
    start_s = time.monotonic()
    try:
        with Run(programs, is_quick=is_quick) as run:
            figures = BENCHMARKS[name](run)
    except Exception as error:  # noqa: BLE001  (the other benchmarks still have something to say)
        figures = [Figure(what=name, value=f"failed: {type(error).__name__}: {error}")]
    print_figures(figures or [Figure(what=name, value="skipped: there is no km to measure")])
    print(f"({time.monotonic() - start_s:.0f} s)", flush=True)
    return figures


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option("--quick", is_flag=True, help="A smoke test in under 40 s; its figures are rough.")
@click.option("--km", "km_path", type=click.Path(exists=True), help="The km to measure, if not the one of this Python.")
def main(*, names: tuple[str, ...], quick: bool, km_path: str | None) -> None:
    """Measure km beside its baselines; without NAME, everything."""
    if sys.platform != "linux":
        raise SystemExit("the benchmarks read /proc: Linux only")
    km = find_km(km_path)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, km: {km or 'not installed, baselines only'}")
    with (
        tempfile.TemporaryDirectory(prefix="kilometers-bench-") as folder,
        tempfile.TemporaryDirectory(prefix="kilometers-bench-", dir="/dev/shm") as journal_folder,
    ):
        programs = compile_programs(Path(folder), journal_folder=journal_folder, km=km)
        figures = [figure for name in names or BENCHMARKS for figure in run_one(name, programs, is_quick=quick)]
    print("\nall")
    print_figures(figures)


if __name__ == "__main__":
    main()
