"""What was built works on a machine without Python, and does there all that the source does."""

import json
import re
import sys
from pathlib import Path

from binary.bare_machine import BareMachine

TRY_ALL = r"""
set -e
km --version >&2
km version >&2
km demo >&2
echo '{"jsonrpc":"2.0","id":1,"method":"ping"}' | km monitor --name bare -- cat >&2
km events --json
km sessions >&2; km show >&2; km stats >&2; km status >&2; km config >&2; km config set capture metadata >&2
km tail --since 1h --limit 1 >&2; km export --format csv >&2; km completion bash >&2; km version --licenses >/dev/null
km clear --all --yes >&2
"""


def test_everything_works_without_python(bare: BareMachine, program: Path) -> None:
    bare.install(program)
    done = bare.run(TRY_ALL)

    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["method"] for line in done.stdout.splitlines()] == ["ping", "ping"]
    assert "brew_tea" in done.stderr


def test_doctor_finds_no_fault_but_the_missing_ones(bare: BareMachine, single_file: Path) -> None:
    bare.install(single_file)
    done = bare.run("km doctor --json")
    checks = {check["id"]: check for check in json.loads(done.stdout)["checks"]}

    assert checks["recording"]["state"] == "ok"
    assert re.search(r"[0-9]+ roots? .*certifi", checks["certificates"]["detail"])
    assert [name for name, check in checks.items() if check["state"] == "fail"] == []


def test_there_is_no_python_indeed(bare: BareMachine) -> None:
    done = bare.run(f"ls /bin; {sys.executable} -c 1")

    assert (done.returncode, "python" in done.stdout, "sh\n" in done.stdout) == (127, False, True)
