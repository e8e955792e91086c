"""`km config`: what is in force and why, and changing config.toml without harm."""

import json
import os
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from faults.disk_faults import DiskFaults
from recorder.sessions import KM, Sessions
from recorder.terminal import Terminal


def run(sessions: Sessions, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**sessions.environment, **variables}
    return subprocess.run([*KM, "config", *arguments], env=environment, capture_output=True, text=True, check=False)


def change(sessions: Sessions, *arguments: str) -> str:
    """Run a change that works and return what it says."""
    done = run(sessions, *arguments)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr


def entries(sessions: Sessions, **variables: str) -> dict[str, Any]:
    done = run(sessions, "--json", **variables)
    assert done.returncode == 0, done.stderr
    return {entry["key"]: entry for entry in map(json.loads, done.stdout.splitlines())}


def config_file(sessions: Sessions) -> Path:
    return Path(sessions.home.config_file)


def test_home_without_a_config_shows_the_defaults_and_makes_nothing(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "home")

    rows = [line.split("\t") for line in run(sessions).stdout.splitlines()]

    assert ["capture", "full", "default", "full"] in rows
    assert ["retention_days", "30", "default", "30"] in rows
    assert not sessions.folder.exists()


def test_each_value_comes_with_its_source(sessions: Sessions) -> None:
    change(sessions, "set", "retention_days", "7")
    change(sessions, "set", "servers.my-server.capture", "off")

    found = entries(sessions, KILOMETERS_CAPTURE="metadata")

    assert (found["capture"]["value"], found["capture"]["source"]) == ("metadata", "environment")
    assert (found["retention_days"]["value"], found["retention_days"]["source"]) == ("7", "config.toml")
    assert found["servers.my-server.capture"]["default"] == "metadata"
    assert all(entry["meaning"] for entry in found.values())


def test_set_makes_a_private_file(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "home")

    change(sessions, "set", "capture", "metadata")

    assert stat.S_IMODE(config_file(sessions).stat().st_mode) == 0o600
    assert stat.S_IMODE(sessions.folder.stat().st_mode) == 0o700
    assert run(sessions, "get", "capture").stdout == "metadata\n"


def test_set_keeps_what_a_person_wrote(sessions: Sessions) -> None:
    config_file(sessions).write_text("# mine\nretention_days = 3   # short\n\n[servers.x]\n# why\ncapture = 'off'\n")

    change(sessions, "set", "retention_days", "14")
    change(sessions, "set", "servers.a.b.capture", "metadata")

    assert config_file(sessions).read_text() == (
        "# mine\nretention_days = 14   # short\n\n[servers.x]\n# why\ncapture = 'off'\n\n"
        '[servers."a.b"]\ncapture = "metadata"\n'
    )


def test_server_that_was_set_off_is_not_recorded(sessions: Sessions) -> None:
    change(sessions, "set", "servers.server-0.capture", "off")

    silent, heard = sessions.start(), sessions.start()
    for client in (silent, heard):
        client.call(1)
        client.wait_for_answers(1)
        client.end()

    assert [one.summary["name"] for one in sessions.wait_until_recorded().values()] == ["server-1"]


def test_set_says_from_when_on_it_holds(sessions: Sessions) -> None:
    assert "sessions that start from now on" in change(sessions, "set", "capture", "metadata")
    assert "within two minutes" in change(sessions, "set", "retention_mb", "50")
    assert "0 keeps nothing" in change(sessions, "set", "retention_days", "0")


def test_set_says_what_goes_before_it(sessions: Sessions, tmp_path: Path) -> None:
    done = run(sessions, "set", "capture", "full", KILOMETERS_CAPTURE="off")
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)

    assert "KILOMETERS_CAPTURE is set, as it is here (off)" in done.stderr
    assert "cannot be used" in change(sessions, "set", "journal_dir", str(shared))
    assert "cannot be used" not in change(sessions, "set", "journal_dir", str(tmp_path / "new"))


def test_set_knows_the_servers_that_were_recorded(sessions: Sessions) -> None:
    client = sessions.start()
    client.call(1)
    client.end()
    sessions.wait_until_recorded()

    assert 'Did you mean "server-0"?' in change(sessions, "set", "servers.sever-0.capture", "off")
    assert "recorded" not in change(sessions, "set", "servers.server-0.capture", "off")


def test_unset_brings_the_default_back(sessions: Sessions) -> None:
    change(sessions, "set", "capture", "off")

    said = change(sessions, "unset", "capture")

    assert "capture is now full (default)" in said
    assert run(sessions, "get", "capture").stdout == "full\n"
    assert "was not set" in change(sessions, "unset", "capture")


def test_unset_takes_out_what_means_nothing(sessions: Sessions) -> None:
    config_file(sessions).write_text('captur = "off"\n[servers.a.b]\ncapture = "off"\n')

    change(sessions, "unset", "captur")
    change(sessions, "unset", "servers.a.b")

    assert [entry for entry in entries(sessions).values() if "problem" in entry] == []


def test_what_is_wrong_is_shown_and_named(sessions: Sessions) -> None:
    config_file(sessions).write_text('capture = "ful"\nretention_day = 3\n')

    done = run(sessions)

    assert done.returncode == 0
    assert "capture\tful\tconfig.toml\tfull" in done.stdout
    assert 'metadata applies. Did you mean "full"?' in done.stderr
    assert 'retention_day = 3 (config.toml): there is no such setting. Did you mean "retention_days"?' in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["get", "captur"], 2, 'no setting "captur". Did you mean "capture"?'),
        (["set", "captur", "off"], 2, 'Did you mean "capture"?'),
        (["unset", "servers.x.captrue"], 2, 'Did you mean "servers.x.capture"?'),
        (["set", "capture", "meta"], 2, "it may be full, metadata, off."),
        (["set", "retention_days", "ten"], 2, "it must be a whole number"),
        (["set", "retention_days", "9" * 5000], 2, "digits at most"),
        (["set", "journal_dir", "here"], 2, "Give the whole path."),
        (["set", "journal_dir", ""], 2, "km config unset journal_dir"),
        (["set", "journal_dir", "/\udcff"], 2, r"km: '/\udcff' is no valid text."),
        (["set", "capture"], 2, "VALUE"),
        (["get", "retention_mb"], 1, "1000 applies. Mend it: km config set retention_mb VALUE"),
    ],
)
def test_error_says_what_is_wrong_and_changes_nothing(
    sessions: Sessions, arguments: list[str], status: int, said: str
) -> None:
    config_file(sessions).write_text("retention_mb = 'much'\n")

    done = run(sessions, *arguments)

    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert config_file(sessions).read_text() == "retention_mb = 'much'\n"


@pytest.mark.parametrize("arguments", [[], ["get", "capture"], ["set", "capture", "off"], ["unset", "capture"]])
def test_config_that_is_no_toml_is_named_with_its_line_and_left_alone(sessions: Sessions, arguments: list[str]) -> None:
    config_file(sessions).write_text("capture = 'off'\nretention_days = \n")

    done = run(sessions, *arguments)

    assert (done.returncode, done.stdout) == (1, "")
    assert str(config_file(sessions)) in done.stderr
    assert "line 2" in done.stderr
    assert "km config path" in done.stderr
    assert config_file(sessions).read_text() == "capture = 'off'\nretention_days = \n"


def test_path_is_said_whatever_the_file_holds(sessions: Sessions) -> None:
    config_file(sessions).write_bytes(b"\xff\x00")

    assert run(sessions, "path").stdout == f"{config_file(sessions)}\n"


def test_linked_config_is_changed_where_it_lies(sessions: Sessions, tmp_path: Path) -> None:
    dotfile = tmp_path / "dotfiles" / "km.toml"
    dotfile.parent.mkdir()
    dotfile.write_text("# mine\n")
    config_file(sessions).symlink_to(dotfile)

    change(sessions, "set", "capture", "off")

    assert config_file(sessions).is_symlink()
    assert dotfile.read_text() == '# mine\ncapture = "off"\n'
    assert os.listdir(dotfile.parent) == ["km.toml"]


def test_many_changes_at_once_are_all_kept(sessions: Sessions) -> None:
    names = [f"server-{number}" for number in range(12)]
    commands = [[*KM, "config", "set", f"servers.{name}.capture", "off"] for name in names]
    changes = [subprocess.Popen(command, env=sessions.environment) for command in commands]

    assert [change.wait(60) for change in changes] == [0] * len(names)
    assert tomllib.loads(config_file(sessions).read_text())["servers"].keys() == set(names)


def test_full_disk_leaves_the_file_as_it_was(sessions: Sessions, fault_library: Path) -> None:
    change(sessions, "set", "capture", "metadata")
    (sessions.folder / "config.toml.new").write_text("left by a change that was killed")
    with DiskFaults(sessions.folder, library=fault_library) as faults:
        faults.set("enospc")
        done = run(sessions, "set", "capture", "off", **faults.env())

    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert config_file(sessions).read_text() == 'capture = "metadata"\n'
    assert not list(sessions.folder.glob("*.new"))


def test_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    tmp_path.joinpath("file").write_text("")
    sessions = Sessions(tmp_path / "file" / "home")

    done = run(sessions, "set", "capture", "off")

    assert done.returncode == 1
    assert "was not changed" in done.stderr
    assert f"{tmp_path}/file: " in done.stderr


def test_terminal_shows_a_table_without_what_would_steer_it(sessions: Sessions) -> None:
    config_file(sessions).write_text('"bad\\u001b[31m" = "\\u001b]0;title\\u0007"\njournal_dir = "/\\u001b[2J"\n')

    with Terminal([*KM, "config"], {**sessions.environment, "NO_COLOR": "1"}, columns=60) as terminal:
        status = terminal.wait()

    assert status == 0
    assert "KEY" in terminal.shown
    assert "title" in terminal.shown
    assert "\x1b]0;" not in terminal.shown
    assert "\x1b[2J" not in terminal.shown
    assert "\x1b[31m" not in terminal.shown


def test_unset_journal_dir_is_automatic_to_a_person(sessions: Sessions) -> None:
    with Terminal([*KM, "config"], {**sessions.environment, "NO_COLOR": "1"}) as terminal:
        terminal.wait()

    assert "automatic" in terminal.shown
    assert "journal_dir\t\tdefault\t" in run(sessions).stdout
