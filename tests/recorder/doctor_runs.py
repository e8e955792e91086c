"""Runs of `km doctor`, each in a home and with a user's home of its own: what its tests share."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import km_under_test
from recorder.sessions import KM, Sessions

SCRIPT = Path(km_under_test.PROGRAM)
SOMEBODY = 54_322
AS_ROOT = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away and mount"
)


class Doctor:
    """Runs `km doctor` for one home, with a user's home of its own in which clients may be configured."""

    def __init__(self, sessions: Sessions, folder: Path) -> None:
        self.sessions = sessions
        self.home = sessions.folder
        self.user_home = folder / "user"
        self.temporary = folder / "tmp"
        self.project = folder / "project"
        for path in (self.user_home, self.temporary, self.project):
            path.mkdir()
        self.environment = {
            "PATH": f"{SCRIPT.parent}:{os.environ['PATH']}",
            "HOME": str(self.user_home),
            "TMPDIR": str(self.temporary),
            "KILOMETERS_HOME": str(self.home),
            "LANG": "C.UTF-8",
        }

    def start(self, *arguments: str, before: list[str] | None = None, **popen: Any) -> subprocess.Popen[bytes]:
        popen = {"cwd": self.project, "env": self.environment, "stdout": subprocess.PIPE, **popen}
        return subprocess.Popen([*(before or []), *KM, "doctor", *arguments], **popen)

    def run(self, *arguments: str, status: int | None = None, **popen: Any) -> str:
        """Return what is printed; nothing may be left in the temporary folder."""
        process = self.start(*arguments, stderr=subprocess.PIPE, **popen)
        shown, said = process.communicate(timeout=100)
        assert (said, list(self.temporary.iterdir())) == (b"", [])
        assert process.returncode == status or status is None
        return shown.decode()

    def report(self, **popen: Any) -> dict[str, Any]:
        """Return the report; the exit status says whether a check failed."""
        report = json.loads(self.run("--json", **popen))
        failed = [check["id"] for check in report["checks"] if check["state"] == "fail"]
        assert report["failures"] == len(failed)
        for check in report["checks"]:
            wrong = check["state"] != "ok"
            assert len(check.get("fix", "").splitlines()) == (len(check["detail"].splitlines()) if wrong else 0)
        return report

    def check(self, name: str, **popen: Any) -> dict[str, Any]:
        """Return one check of the report."""
        return next(check for check in self.report(**popen)["checks"] if check["id"] == name)

    def type(self, fix: str) -> None:
        """Type a fix into a shell."""
        subprocess.run(["sh", "-c", fix], env=self.environment, check=True, capture_output=True, timeout=30)


def states(report: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["state"] for check in report["checks"]}


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
