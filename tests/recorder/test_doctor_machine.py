"""`km doctor` on what is around km, and how a check ends whatever happens."""

import json
import os
import re
import sys
import threading
from pathlib import Path

import pytest
import trustme

from kilometers import paths
from kilometers.checks import Finding, combine, fail, guarded, ok, run_within, warn
from recorder.doctor_runs import AS_ROOT, SCRIPT, SOMEBODY, Doctor, states
from recorder.test_users import AS_USER


@AS_ROOT
def test_inotify_instances_that_are_used_up_warn(doctor: Doctor, tmp_path: Path) -> None:
    for folder in (doctor.home, doctor.temporary, doctor.user_home, doctor.project):
        os.chown(folder, SOMEBODY, SOMEBODY)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    use_up = "while ctypes.CDLL(None).inotify_init1(0) >= 0: pass"
    use_up = f"import ctypes, os, sys\n{use_up}\nos.execvp(sys.argv[1], sys.argv[1:])"
    as_somebody = ["setpriv", "--reuid", str(SOMEBODY), "--regid", str(SOMEBODY), *AS_USER]
    check = doctor.check("watching", before=[*as_somebody, sys.executable, "-c", use_up])

    assert (check["state"], "every 250 ms" in check["detail"]) == ("warn", True)
    assert check["fix"] == "sudo sysctl fs.inotify.max_user_instances=1024"


def test_path_without_km_warns_with_its_place(doctor: Doctor) -> None:
    doctor.environment["PATH"] = "/usr/bin:/bin"
    check = doctor.check("path", status=0)

    assert (check["state"], str(SCRIPT) in check["detail"]) == ("warn", True)
    assert check["fix"] == f'export PATH={SCRIPT.parent}:"$PATH"'


def test_other_km_in_path_warns(doctor: Doctor, tmp_path: Path) -> None:
    other = tmp_path / "bin" / "km"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    doctor.environment["PATH"] = f"{other.parent}:/usr/bin:/bin"
    check = doctor.check("path", status=0)

    assert (check["state"], str(other) in check["detail"]) == ("warn", True)
    assert str(SCRIPT) in check["fix"]


def test_link_to_km_in_path_is_this_one(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "km").symlink_to(SCRIPT)
    doctor.environment["PATH"] = f"{tmp_path / 'bin'}:/usr/bin:/bin"

    assert doctor.check("path")["state"] == "ok"


@pytest.mark.parametrize(
    ("text", "state", "detail"),
    [
        ('captur = "full"', "warn", 'captur: there is no such setting. Did you mean "capture"?'),
        ('[servers.x]\ncaptur = "full"', "warn", "servers.x.captur: there is no such setting."),
        ('capture = "some"', "fail", "capture: it may be full, metadata, off;"),
        ('[servers.x]\ncapture = "some"', "fail", "servers.x.capture: it may be full, metadata, off;"),
        ('retention_days = "long"', "fail", "retention_days: it must be a whole number;"),
    ],
)
def test_settings_are_checked(doctor: Doctor, text: str, state: str, detail: str) -> None:
    config = doctor.home / "config.toml"
    config.write_text(text)
    config.chmod(0o600)
    check = doctor.check("config")

    assert (check["state"], check["detail"].startswith(detail)) == (state, True)
    doctor.type(check["fix"])
    assert doctor.check("config")["state"] == "ok"


@pytest.mark.parametrize("text", ['capture = "full"\ncapture = 3\nx = 1', 'capture = "full"\n[servers\nx = 3'])
def test_settings_that_cannot_be_read_fail_with_their_line(doctor: Doctor, text: str) -> None:
    (doctor.home / "config.toml").write_text(text)
    check = doctor.check("config", status=1)

    assert (check["state"], "at line 2" in check["detail"]) == ("fail", True)


def test_variables_are_checked_and_their_values_not_shown(doctor: Doctor) -> None:
    doctor.environment |= {
        "KILOMETERS_CAPTUR": "hidden",
        "KILOMETERS_CAPTURE": "some",
        "KILOMETERS_RETENTION_DAYS": "3",
    }
    check = doctor.check("environment", status=1)

    assert check["state"] == "fail"
    assert check["fix"].splitlines() == [
        "unset KILOMETERS_CAPTURE",
        'Did you mean "KILOMETERS_CAPTURE"?  unset KILOMETERS_CAPTUR',
        "km config set retention_days VALUE",
        "Put it into each server's env in the client too, or: unset KILOMETERS_HOME",
    ]
    assert "hidden" not in json.dumps(check)


def test_certificates_are_counted_with_their_place(doctor: Doctor) -> None:
    check = doctor.check("certificates", status=0)

    assert check["state"] == "ok"
    assert re.fullmatch(r"[1-9][\d,]* roots from .+", check["detail"])


def test_certificates_that_a_variable_names_are_looked_at(doctor: Doctor, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    doctor.environment["SSL_CERT_FILE"] = str(tmp_path / "authority.pem")
    check = doctor.check("certificates", status=0)

    assert check["detail"] == f"1 root from {tmp_path / 'authority.pem'} (SSL_CERT_FILE)"


def test_variable_that_names_no_certificates_warns(doctor: Doctor, tmp_path: Path) -> None:
    doctor.environment["SSL_CERT_FILE"] = str(tmp_path / "gone.pem")
    check = doctor.check("certificates", status=0)

    assert check["state"] == "warn"
    assert f"SSL_CERT_FILE names {tmp_path / 'gone.pem'}, which cannot be read" in check["detail"]
    assert "SSL_CERT_FILE" in check["fix"]


def test_folder_of_certificates_that_cannot_be_used_warns(doctor: Doctor, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "0123abcd.0"))
    doctor.environment["SSL_CERT_DIR"] = os.pathsep.join([str(tmp_path / "gone"), str(tmp_path)])
    check = doctor.check("certificates", status=0)

    assert (check["state"], f"{tmp_path / 'gone'} cannot be read" in check["detail"]) == ("warn", True)
    assert check["fix"].startswith("Correct SSL_CERT_DIR; ")


def test_check_that_cannot_be_made_fails_and_the_others_go_on(doctor: Doctor) -> None:
    Path(doctor.sessions.home.recorder_lock).mkdir()
    report = doctor.report(status=1)

    assert states(report)["recorder"] == "fail"
    assert states(report)["recording"] == "ok"
    assert len(states(report)) == 15


def test_whatever_a_check_raises_is_a_finding() -> None:
    def break_down(_: paths.Home) -> list[Finding]:
        raise ZeroDivisionError("by zero")

    (finding,) = guarded(break_down, paths.Home("/", ""))

    assert (finding.state, "ZeroDivisionError: by zero" in finding.detail) == ("fail", True)


def test_check_that_does_not_answer_is_left_behind() -> None:
    answered = threading.Event()

    assert run_within(0.05, lambda: [ok("late")] if answered.wait() else []) is None
    answered.set()


def test_findings_become_one_check_with_the_worst_first() -> None:
    check = combine("x", "X", [ok("fine"), warn("odd\nly", "look"), fail("bad", "mend")])

    assert (check.state, check.detail, check.fix) == ("fail", "bad\nodd ly", "mend\nlook")
