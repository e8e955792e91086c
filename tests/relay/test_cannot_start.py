"""Commands that cannot be started: what is said, where, and the exit status a shell would give."""

import os
import resource
from pathlib import Path

from relay.wrapped import KM, captured, environment_of, obey_modes, run, run_directly


def failure(command: list[str], home: Path, **popen: object) -> tuple[int, str]:
    """Return status and message of a command that does not start; nothing may stand on stdout."""
    ended = run(command, home, **popen)
    assert ended.stdout == b""
    return ended.returncode, ended.stderr.decode(errors="surrogateescape")


def search_path(home: Path, *folders: Path) -> dict[str, str]:
    """Return an environment with these folders first in PATH."""
    env = environment_of(home)
    return {**env, "PATH": ":".join([*map(str, folders), env["PATH"]])}


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_unknown_command_is_not_found_and_the_nearest_is_suggested(home: Path, tmp_path: Path) -> None:
    script(tmp_path / "bin" / "server-memory", "#!/bin/sh\n")
    env = {**environment_of(home), "PATH": f"{tmp_path / 'bin'}:/nonexistent:{os.path.dirname(KM)}"}

    assert failure(["servr-memory"], home, env=env) == (
        127,
        'km: cannot start "servr-memory": not found in PATH (3 folders searched). Did you mean "server-memory"?\n',
    )


def test_unknown_command_without_a_likeness_gets_advice(home: Path) -> None:
    status, message = failure(["qqqqqqqqqq"], home)

    assert status == 127
    assert message.endswith("Is it installed, and is its folder in PATH?\n")


def test_missing_file_is_not_found(home: Path) -> None:
    assert failure(["./no/such/server"], home) == (127, 'km: cannot start "./no/such/server": no such file.\n')


def test_file_below_a_file_is_not_found(home: Path) -> None:
    status, _ = failure([f"{KM}/server"], home)

    assert status == 127


def test_empty_command_is_not_found(home: Path) -> None:
    status, message = failure([""], home)

    assert status == 127
    assert message.startswith('km: cannot start ""')


def test_file_without_permission_is_not_executable(home: Path, tmp_path: Path) -> None:
    server = script(tmp_path / "server", "#!/bin/sh\n", 0o644)

    assert failure([str(server)], home) == (
        126,
        f'km: cannot start "{server}": it is not executable. Try: chmod +x {server}\n',
    )


def test_file_without_permission_in_the_path_is_named_in_full(home: Path, tmp_path: Path) -> None:
    server = script(tmp_path / "bin" / "server-x", "#!/bin/sh\n", 0o644)

    assert failure(["server-x"], home, env=search_path(home, tmp_path / "bin")) == (
        126,
        f'km: cannot start "server-x": {server} is not executable. Try: chmod +x {server}\n',
    )


def test_executable_behind_one_without_permission_is_started(home: Path, tmp_path: Path) -> None:
    script(tmp_path / "one" / "server-x", "#!/bin/sh\n", 0o644)
    script(tmp_path / "two" / "server-x", "#!/bin/sh\necho started\n")
    ended = run(["server-x"], home, env=search_path(home, tmp_path / "one", tmp_path / "two"))

    assert ended.stdout == b"started\n"


def test_folder_is_not_executable(home: Path, tmp_path: Path) -> None:
    assert failure([str(tmp_path)], home) == (126, f'km: cannot start "{tmp_path}": it is a folder.\n')


def test_missing_interpreter_is_named_as_the_reason(home: Path, tmp_path: Path) -> None:
    server = script(tmp_path / "server", "#!/nonexistent/python\n")

    assert failure([str(server)], home) == (
        127,
        f'km: cannot start "{server}": its interpreter (the #! line) was not found.\n',
    )


def test_missing_interpreter_in_the_path_is_named_with_its_file(home: Path, tmp_path: Path) -> None:
    server = script(tmp_path / "bin" / "server-x", "#!/nonexistent/python\n")
    status, message = failure(["server-x"], home, env=search_path(home, tmp_path / "bin"))

    assert status == 127
    assert str(server) in message


def test_executable_behind_one_with_a_missing_interpreter_is_started(home: Path, tmp_path: Path) -> None:
    script(tmp_path / "one" / "server-x", "#!/nonexistent/python\n")
    script(tmp_path / "two" / "server-x", "#!/bin/sh\necho started\n")
    env = search_path(home, tmp_path / "one", tmp_path / "two")

    assert run(["server-x"], home, env=env).stdout == b"started\n"


def test_closed_folder_in_the_path_does_not_hide_that_a_command_is_unknown(home: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    status, message = failure(["qqqqqqqqqq"], home, env=search_path(home, tmp_path / "closed"), preexec_fn=obey_modes)

    assert status == 127
    assert "not found in PATH" in message


def test_interpreter_without_permission_is_named_as_the_reason(home: Path, tmp_path: Path) -> None:
    server = script(tmp_path / "server", f"#!{script(tmp_path / 'interpreter', '', 0o644)}\n")
    status, message = failure([str(server)], home)

    assert status == 126
    assert "its interpreter (the #! line) is not executable" in message


def test_km_that_cannot_begin_says_so(home: Path) -> None:
    ended = run(["cat"], home, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (7, 7)))

    assert (ended.returncode, ended.stdout) == (125, b"")
    assert ended.stderr == b"km: cannot begin: Too many open files.\n"


def test_script_without_an_interpreter_line_is_run_by_the_shell(home: Path, tmp_path: Path) -> None:
    server = script(tmp_path / "server", 'echo "$0 $1"\nexit 4\n')
    ended = run([str(server), "word"], home)

    assert (ended.returncode, ended.stdout) == (4, f"{server} word\n".encode())


def test_odd_bytes_in_a_name_are_said_as_they_are(home: Path) -> None:
    ended = run([b"./\xff\xfe"], home)

    assert ended.returncode == 127
    assert b'"./\xff\xfe"' in ended.stderr


def test_missing_search_path_means_the_systems_own(home: Path) -> None:
    env = {"KILOMETERS_HOME": str(home)}
    ended = run(["echo", "hello"], home, env=env)
    status, message = failure(["qqqqqqqqqq"], home, env=env)

    assert ended.stdout == b"hello\n"
    assert status == 127
    assert "(2 folders searched)" in message


def test_what_never_started_leaves_no_session(home: Path) -> None:
    failure(["./no/such/server"], home)

    assert captured(home).segments == []


def test_command_that_is_missing_is_wrong_usage(home: Path) -> None:
    ended = run_directly([KM, "monitor", "--"], home)

    assert ended.returncode == 2
    assert ended.stdout == b""
