"""What the server is started with, as values; started servers are in tests/relay."""

import errno
import os
from pathlib import Path

import pytest

from kilometers import child
from kilometers.start_failure import cannot_start, find_file, nearest_program


def missing(program: str, path: str) -> str:
    return str(cannot_start(program, OSError(errno.ENOENT, "No such file or directory"), path))


def program(folder: Path, name: str, mode: int = 0o755) -> str:
    path = folder / name
    path.write_text("#!/nonexistent\n")
    path.chmod(mode)
    return str(path)


def test_candidates_stand_in_the_paths_order() -> None:
    assert child.candidates("node", {b"PATH": b"/a:/b"}) == [b"/a/node", b"/b/node"]


def test_empty_folder_in_the_path_is_the_current_one() -> None:
    assert child.candidates("node", {b"PATH": b"/a::"}) == [b"/a/node", b"./node", b"./node"]


@pytest.mark.parametrize("name", ["./node", "/bin/node", "bin/node"])
def test_name_with_a_slash_is_not_looked_for(name: str) -> None:
    assert child.candidates(name, {b"PATH": b"/a"}) == [os.fsencode(name)]


def test_unset_path_is_the_systems_own() -> None:
    assert child.candidates("sh", {}) == [os.fsencode(f"{folder}/sh") for folder in os.defpath.split(":")]


def test_empty_name_means_no_file() -> None:
    assert child.candidates("", {b"PATH": b"/a"}) == []


@pytest.mark.parametrize(
    ("path", "searched"), [("", "0 folders"), ("/nonexistent", "1 folder"), ("/nonexistent:/none", "2 folders")]
)
def test_searched_folders_are_counted(path: str, searched: str) -> None:
    assert f"not found in PATH ({searched} searched)" in missing("server", path)


def test_nearest_program_is_the_most_alike(tmp_path: Path) -> None:
    for name in ("server-memory", "server-everything", "ls"):
        program(tmp_path, name)

    assert nearest_program("servr-memory", ["/nonexistent", str(tmp_path)]) == "server-memory"
    assert nearest_program("qqqq", [str(tmp_path)]) == ""


def test_file_is_found_and_a_folder_is_not(tmp_path: Path) -> None:
    (tmp_path / "one" / "server").mkdir(parents=True)
    (tmp_path / "two").mkdir()
    found = program(tmp_path / "two", "server", 0o644)

    assert find_file("server", [str(tmp_path / "one"), str(tmp_path / "two")]) == found
    assert find_file("other", [str(tmp_path)]) == ""


@pytest.mark.parametrize(
    ("number", "status"), [(errno.ENOEXEC, 126), (errno.EACCES, 126), (errno.ENOENT, 127), (errno.E2BIG, 125)]
)
def test_exit_status_is_what_a_shell_would_give(tmp_path: Path, number: int, status: int) -> None:
    error = OSError(number, os.strerror(number))

    assert cannot_start(program(tmp_path, "server"), error, "").exit_status == status


def test_other_errors_are_said_in_the_systems_words() -> None:
    error = OSError(errno.E2BIG, os.strerror(errno.E2BIG))

    assert str(cannot_start("server", error, "")) == f'cannot start "server": {os.strerror(errno.E2BIG)}.'
