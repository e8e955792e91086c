"""Two users on one machine: each has a journal, a recorder and a store of their own."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kilometers import paths
from recorder.sessions import KM, Sessions, request, wait_until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become two users")
USERS = (12_345, 54_321)
# The interpreter may lie in root's own folder: to read is the one power that the users keep.
AS_USER = ["--clear-groups", "--inh-caps", "-all,+dac_read_search", "--ambient-caps", "-all,+dac_read_search"]


def run_as(user: int, home: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = ["setpriv", "--reuid", str(user), "--regid", str(user), *AS_USER, *KM, *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    return subprocess.run(command, env=environment, input=stdin, capture_output=True, timeout=60, check=False)


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[dict[int, Path]]:
    """The two users' own folders; afterwards nothing of theirs runs, and nothing is in memory."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    made = {}
    for user in USERS:
        made[user] = tmp_path / str(user)
        made[user].mkdir(mode=0o700)
        os.chown(made[user], user, user)
    yield made
    for own in map(kilometers_home, made.values()):
        Sessions(Path(own.folder)).kill_recorder()
        for folder in own.ram_folders():
            shutil.rmtree(folder, ignore_errors=True)


def kilometers_home(home: Path) -> paths.Home:
    return paths.Home(str(home / ".local/share/kilometers"), "")


def test_two_users_never_meet(homes: dict[int, Path]) -> None:
    for user, home in homes.items():
        server = ("sh", "-c", "cat; sleep 1")  # -v is said beside the session, and no session waits for it
        done = run_as(user, home, "monitor", "-v", "--name", f"of-{user}", "--", *server, stdin=request(1))
        assert done.stdout == request(1)
        assert b"in /dev/shm/" in done.stderr

    for user, home in homes.items():
        own = kilometers_home(home)
        wait_until(lambda user=user, home=home: ended_sessions(user, home), 20)
        assert ended_sessions(user, home) == [f"of-{user}"]
        for path in (own.store_file, *(folder for folder in own.ram_folders() if Path(folder).exists())):
            assert Path(path).stat().st_uid == user
            assert Path(path).stat().st_mode & 0o077 == 0


def ended_sessions(user: int, home: Path) -> list[str]:
    """Ask as the user: root's own look at a store would leave files of root's beside it."""
    shown = [json.loads(line) for line in run_as(user, home, "sessions", "--json").stdout.splitlines()]
    return [one["name"] for one in shown if "ended_at" in one]


def test_home_of_another_user_is_not_used(homes: dict[int, Path]) -> None:
    """As after `sudo -E`: HOME is somebody else's.  The user has no passwd entry either, so nothing is recorded."""
    mine, theirs = USERS
    done = run_as(mine, homes[theirs], "monitor", "-v", "--", "cat", stdin=request(1))

    assert done.stdout == request(1)
    assert b"nothing is recorded" in done.stderr
    assert list(homes[theirs].iterdir()) == []
