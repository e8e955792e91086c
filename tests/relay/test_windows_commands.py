"""Windows: the command that km is given means what it means to a shell, and its arguments arrive unharmed."""

import json
import sys
from pathlib import Path

import pytest

from relay.test_windows_sessions import PYTHON, environment_of, home, monitor  # noqa: F401  # home is a fixture

pytestmark = [
    pytest.mark.skipif(sys.platform != "win32", reason="Windows' commands"),
    pytest.mark.timeout(180),
]

TELL_ARGUMENTS = "import sys, json; sys.stdout.write(json.dumps(sys.argv[1:]))"
HOSTILE = [
    "plain", "", "two words", 'say "hi"', '"', '\\"', "ends in \\", "\\\\", "%PATH%", "100%", "%", "%%", "%1", "%~0",
    "a&b", "a|b", "<x>", "^caret^", "(paren)", "!x!", "a=b,c;d", "'single'", "`tick`", '"&calc&"', "%cd:~,%", "*.py",
    "ä€🙂", "/?", "-y", "@scope/pkg@1.2",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in PATH, with a space in its name."""
    folder = tmp_path / "some programs (x86)"
    folder.mkdir()
    return folder


def make_batch_file(folder: Path, name: str) -> Path:
    """Make a shim as npm makes them: it hands all its arguments on to a program."""
    (folder / "tell.py").write_text(TELL_ARGUMENTS)
    script = folder / name
    script.write_text(f'@echo off\n"{sys.executable}" "%~dp0tell.py" %*\n')
    return script


def path_with(folder: Path) -> str:
    return f"{folder};{environment_of(folder)['PATH']}"


def test_arguments_of_a_program_arrive_unharmed(home: Path) -> None:  # noqa: F811  # as above
    arguments = [*HOSTILE, "two\nlines"]

    assert json.loads(monitor(home, [*PYTHON, TELL_ARGUMENTS, *arguments]).stdout) == arguments


@pytest.mark.parametrize("argument", HOSTILE)
def test_argument_of_a_batch_file_arrives_unharmed(home: Path, folder: Path, argument: str) -> None:  # noqa: F811  # as above
    script = make_batch_file(folder, "server.cmd")
    done = monitor(home, [str(script), "first", argument, "last"])

    assert json.loads(done.stdout) == ["first", argument, "last"]


@pytest.mark.parametrize("ending", [".cmd", ".bat"])
def test_batch_file_is_found_by_its_bare_name(home: Path, folder: Path, ending: str) -> None:  # noqa: F811  # as above
    make_batch_file(folder, f"npx{ending}")
    (folder / "npx").write_text("#!/bin/sh\n")

    assert json.loads(monitor(home, ["npx", "-y", "x"], PATH=path_with(folder)).stdout) == ["-y", "x"]


def test_batch_files_status_is_kms(home: Path, folder: Path) -> None:  # noqa: F811  # as above
    script = folder / "server.cmd"
    script.write_text("@exit /b 9\n")

    assert monitor(home, [str(script)]).returncode == 9


def test_program_in_the_current_folder_is_not_found_by_its_bare_name(
    home: Path,  # noqa: F811  # as above
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_batch_file(folder, "server.cmd")
    monkeypatch.chdir(folder)

    assert monitor(home, ["server"]).returncode == 127
    assert monitor(home, [".\\server", "x"]).stdout == b'["x"]'


def test_line_end_in_a_batch_files_argument_is_refused(home: Path, folder: Path) -> None:  # noqa: F811  # as above
    done = monitor(home, [str(make_batch_file(folder, "server.cmd")), "two\nlines"])

    assert done.returncode == 125
    assert b"line end" in done.stderr


@pytest.mark.parametrize(("name", "file"), [("server.py", "server.py"), ("npx", "npx"), ("npx", "npx.ps1")])
def test_file_that_is_no_program_is_said_to_be_none(home: Path, folder: Path, name: str, file: str) -> None:  # noqa: F811  # as above
    (folder / file).write_text("#!/bin/sh\n")
    done = monitor(home, [name], PATH=path_with(folder))

    assert done.returncode == 126
    assert f"{file} is no program that Windows can start".encode() in done.stderr


def test_missing_program_is_said_to_be_missing(home: Path, folder: Path) -> None:  # noqa: F811  # as above
    make_batch_file(folder, "server-memory.cmd")
    done = monitor(home, ["servr-memory"], PATH=str(folder))

    assert done.returncode == 127
    assert b'Did you mean "server-memory"?' in done.stderr
