"""`km completion` in the real bash, zsh and fish; PowerShell's protocol without PowerShell."""

import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.sessions import KM, Sessions, wait_until
from recorder.terminal import Terminal
from relay.wrapped import KM as KM_PATH
from relay.wrapped import home_in

ODD_NAMES = ("with a space", "$(touch hacked)", "semi;colon", "--all", "a:b", "tab\tname", "esc\x1b[31m")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    """A home with sessions of the servers alpha, then some with names that shells do not leave alone, then beta."""
    with home_in(tmp_path_factory.mktemp("completion")) as home:
        sessions = Sessions(home)
        for name in ("alpha", *ODD_NAMES, "beta"):
            command = [*KM, "monitor", f"--name={name}", "--", "cat"]
            subprocess.run(
                command, input=b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n', env=variables(sessions), check=True
            )
            sessions.wait_until_recorded()
        sessions.kill_recorder()
        yield sessions


def variables(sessions: Sessions) -> dict[str, str]:
    return {**sessions.environment, "HOME": str(sessions.folder)}


def need(shell: str) -> None:
    """Skip the test where a shell is not installed; never in CI, which installs them all."""
    if shutil.which(shell) is None:
        assert not os.environ.get("CI"), f"{shell} is not installed"
        pytest.skip(f"{shell} is not installed")


def script(sessions: Sessions, shell: str) -> str:
    done = sessions.km("completion", shell)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def complete_in_bash(sessions: Sessions, *words: str, options: str = "") -> list[str]:
    """Return what bash is offered for the last of *words*."""
    lines = [
        options,
        script(sessions, "bash"),
        f"COMP_WORDS=({shlex.join(words)})",
        f"COMP_CWORD={len(words) - 1}",
        '_km_completion "${COMP_WORDS[0]}"',
        "printf '%s\\n' \"${COMPREPLY[@]}\"",
    ]
    command = ["bash", "--norc", "-c", "\n".join(lines)]
    done = subprocess.run(command, env=variables(sessions), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1] if done.stdout != "\n" else []


def complete_in_fish(sessions: Sessions, line: str) -> list[str]:
    """Return what fish is offered at the end of *line*, with descriptions behind tabs."""
    need("fish")
    text = f"{script(sessions, 'fish')}\ncomplete -C {shlex.quote(line)}"
    command = ["fish", "--no-config", "-c", text]
    done = subprocess.run(command, env=variables(sessions), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture
def zsh(recorded: Sessions, tmp_path: Path) -> Iterator[Terminal]:
    """An interactive zsh that has the script; ^X^X writes what has been typed into the file `typed`."""
    need("zsh")
    setup = tmp_path / "setup.zsh"
    setup.write_text(
        "autoload -U compinit; compinit -u -D\n"
        f"{script(recorded, 'zsh')}\n"
        f'keep() {{ print -r -- "$BUFFER" >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/typed; BUFFER= }}\n'
        "zle -N keep; bindkey '^X^X' keep\n"
        "PS1='> '; print -n 'rea'; print 'dy'\n"
    )
    with Terminal(["zsh", "-f"], {**variables(recorded), "TERM": "dumb"}, columns=200) as terminal:
        terminal.type(f"source {setup}\n")
        terminal.wait_for("ready")
        yield terminal


def complete_in_zsh(zsh: Terminal, folder: Path, line: str) -> str:
    """Return the line as it is after TAB."""
    typed = folder / "typed"
    zsh.type(f"{line}\t\x18\x18")
    wait_until(typed.exists, 20)
    text = typed.read_text().rstrip("\n")
    typed.unlink()
    return text


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["se"], ["sessions"]),
        (["show", ""], ["beta", "alpha"]),
        (["show", "al"], ["alpha"]),
        (["show", "'al"], ["alpha"]),
        (["events", "--st"], ["--status"]),
        (["events", "--status", "to"], ["tool_error"]),
        (["events", "--status", "="], ["ok", "error", "tool_error", "cancelled", "input_required"]),
        (["events", "--status", "=", "to"], ["tool_error"]),
        (["events", "--status", "=", "ok", "al"], ["alpha"]),
        (["monitor", "--capture", "m"], ["metadata"]),
        (["config", "get", "ret"], ["retention_days", "retention_mb"]),
        (["config", "set", "servers.a"], ["servers.alpha.capture"]),
        (["completion", "f"], ["fish"]),
        (["no-such-command", "--x", "sh"], ["show"]),
        (["monitor", "--", "cat", "--"], []),
    ],
)
def test_bash_is_offered(recorded: Sessions, words: list[str], offered: list[str]) -> None:
    found = complete_in_bash(recorded, KM_PATH, *words)

    assert [word for word in found if not is_short_id(word)] == offered


def is_short_id(word: str) -> bool:
    return len(word) == 8 and all(digit in "0123456789abcdef" for digit in word)


def test_session_is_offered_by_its_id_too_the_newest_first(recorded: Sessions) -> None:
    listed = recorded.km("sessions").stdout.decode().splitlines()
    ids = [line.split("\t")[0] for line in listed]

    found = complete_in_bash(recorded, KM_PATH, "show", "")

    assert found == ["beta", "alpha", *ids]


def test_bash_finds_km_where_it_was_typed(recorded: Sessions) -> None:
    recorded.folder.joinpath("bin").mkdir()
    recorded.folder.joinpath("bin", "km").symlink_to(KM_PATH)

    assert complete_in_bash(recorded, "~/bin/km", "se") == ["sessions"]
    assert complete_in_bash(recorded, "/nowhere/km", "se") == []


def test_bash_in_posix_mode_is_offered_the_same(recorded: Sessions) -> None:
    assert complete_in_bash(recorded, KM_PATH, "se", options="set -o posix") == ["sessions"]


def test_bash_keeps_its_variables(recorded: Sessions) -> None:
    kept = "kind=mine; value=mine; word=mine; words=mine; IFS=:"
    shown = "trap 'echo \"$kind $value $word $words $IFS\"' EXIT"

    found = complete_in_bash(recorded, KM_PATH, "se", options=f"{kept}; {shown}")

    assert found[-1] == "mine mine mine mine :"


def test_fish_is_offered_descriptions_too(recorded: Sessions) -> None:
    (alpha,) = complete_in_fish(recorded, f"{KM_PATH} show al")
    (status,) = complete_in_fish(recorded, f"{KM_PATH} events --st")

    assert alpha.startswith("alpha\t")
    assert alpha.endswith("  cat")
    assert status == "--status\tOnly answers with: ok, error, tool_error, cancelled, input_required."


def test_fish_keeps_the_order_and_completes_behind_an_equals_sign(recorded: Sessions) -> None:
    words = [line.split("\t")[0] for line in complete_in_fish(recorded, f"{KM_PATH} show ")]

    assert words[:2] == ["beta", "alpha"]
    assert complete_in_fish(recorded, f"{KM_PATH} events --status=to") == ["--status=tool_error"]


def test_zsh_completes_what_was_typed(zsh: Terminal, tmp_path: Path) -> None:
    assert complete_in_zsh(zsh, tmp_path, f"{KM_PATH} sess") == f"{KM_PATH} sessions "
    assert complete_in_zsh(zsh, tmp_path, f"{KM_PATH} show al") == f"{KM_PATH} show alpha "
    assert complete_in_zsh(zsh, tmp_path, f"{KM_PATH} events --status=to") == f"{KM_PATH} events --status=tool_error "
    assert complete_in_zsh(zsh, tmp_path, f"{KM_PATH} config set capt") == f"{KM_PATH} config set capture "


def test_zsh_lists_what_there_is_with_descriptions(zsh: Terminal) -> None:
    zsh.type(f"{KM_PATH} s\t")

    zsh.wait_for("sessions  -- List sessions, newest first.")


def test_zsh_script_works_as_a_file_in_fpath(recorded: Sessions, tmp_path: Path) -> None:
    tmp_path.joinpath("_km").write_text(script(recorded, "zsh"))
    need("zsh")
    setup = tmp_path / "setup.zsh"
    setup.write_text(
        f"fpath=({tmp_path} $fpath); autoload -U compinit; compinit -u -D; PS1='> '; print -n rea; print dy\n"
    )

    with Terminal(["zsh", "-f"], {**variables(recorded), "TERM": "dumb"}, columns=200) as zsh:
        zsh.type(f"source {setup}\n")
        zsh.wait_for("ready")
        zsh.type(f"{KM_PATH} s\t")
        zsh.wait_for("sessions  -- List sessions, newest first.")


def test_powershell_gets_three_lines_for_each_completion(recorded: Sessions) -> None:
    asked = {"_KM_COMPLETE": "powershell_complete", "COMP_WORDS": "km.exe show al", "COMP_CWORD": "2"}
    done = subprocess.run(KM, env={**variables(recorded), **asked}, capture_output=True, text=True, check=True)

    kind, value, help_text = done.stdout.splitlines()
    assert (kind, value) == ("plain", "alpha")
    assert help_text.endswith("  cat")
    assert "Register-ArgumentCompleter -Native -CommandName km" in script(recorded, "powershell")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completing_makes_no_noise_and_starts_nothing_without_a_store(tmp_path: Path, shell: str) -> None:
    sessions = Sessions(tmp_path / "nowhere")
    asked = {
        "_KM_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "km show ",
        "COMP_CWORD": "" if shell == "fish" else "2",
    }

    done = subprocess.run(KM, env={**variables(sessions), **asked}, capture_output=True, check=False)

    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"", b"")
    assert not sessions.folder.exists()


@pytest.mark.parametrize("content", [b"", b"not a database" * 1000])
def test_completing_makes_no_noise_where_the_store_is_none(tmp_path: Path, content: bytes) -> None:
    sessions = Sessions(tmp_path / "home")
    sessions.folder.mkdir(mode=0o700)
    Path(sessions.home.store_file).write_bytes(content)

    assert complete_in_bash(sessions, KM_PATH, "show", "") == []
    assert os.listdir(sessions.folder) == ["store.db"]


def test_completing_starts_no_recorder_for_journals_that_wait(sessions: Sessions) -> None:
    lock = sessions.hold_recorder_lock()
    client = sessions.start()
    client.call(1)
    client.wait_for_answers(1)
    client.end()
    os.close(lock)
    sessions.kill_recorder()

    complete_in_bash(sessions, KM_PATH, "show", "")

    assert sessions.recorder_pid() is None
    sessions.wait_until_recorded()


def test_completing_a_servers_command_does_not_start_it(recorded: Sessions, tmp_path: Path) -> None:
    server = tmp_path / "server"
    server.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    server.chmod(server.stat().st_mode | stat.S_IXUSR)

    for words in ([str(server)], [str(server), ""], ["--", str(server), "-"]):
        complete_in_bash(recorded, KM_PATH, "monitor", *words)

    assert not tmp_path.joinpath("started").exists()


def test_unknown_shell_is_refused(recorded: Sessions) -> None:
    done = recorded.km("completion", "tcsh")

    assert done.returncode == 2
    assert b"tcsh" in done.stderr


def test_person_is_told_where_the_script_goes(recorded: Sessions) -> None:
    with Terminal([*KM, "completion", "bash"], variables(recorded)) as terminal:
        terminal.wait()

    assert 'eval "$(km completion bash)"' in terminal.shown
    assert "eval" not in script(recorded, "bash")


def test_completion_works_for_a_km_that_python_started(recorded: Sessions) -> None:
    asked = {"_KM_COMPLETE": "bash_complete", "COMP_WORDS": "km\nsess", "COMP_CWORD": "1"}
    done = subprocess.run(KM, env={**variables(recorded), **asked}, capture_output=True, check=True)

    assert done.stdout == b"plain,sessions\n"
