"""The MCP clients of this machine: their configuration files, read and never written, and what to paste into them.

Where the files may be is core/client_places.py's, what they say is core/client_config.py's.
"""

import errno
import glob
import os
import shutil
import stat
import sys
import sysconfig
from collections.abc import Iterator

import msgspec

from kilometers.capture import current_folder
from kilometers.checks import State
from kilometers.core import client_config
from kilometers.core.client_config import Form, Server, Transport, UnreadableConfig, km_program
from kilometers.core.client_places import Client, Machine, Place, find_places
from kilometers.paths import find_user_home
from kilometers.program import own_command

MAX_BYTES = 32 << 20  # Claude Code keeps much else in its file
MAX_SCRIPT_BYTES = 4096
VARIABLE_MARKS = ("$", "%", "~")


class ClientServer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One server of a client."""

    name: str
    """Its key in the file."""
    project: str = ""
    """The folder that it is for; absent = everywhere that the file is for."""
    transport: str
    """`stdio`; `remote`, which km cannot record yet; `unknown`: the entry is not one that a client could use."""
    is_wrapped: bool
    """Whether km stands around it."""
    state: State
    """`warn` or `fail`: km is around it, but the client will not, or may not, find km; or its entry is not usable."""
    problem: str = ""
    """What is wrong; absent where nothing is."""
    entry: str = ""
    """What to paste in place of its entry, in the file's format: km around it, by its absolute path."""
    remark: str = ""
    """What to mind when it is pasted: what the entry holds besides is never shown."""


class ClientFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One configuration file that was found."""

    client: str
    """The client's name."""
    path: str
    """The file."""
    scope: str
    """`user`, `project`: found in the current folder; `system`: an administrator's."""
    state: State
    """`warn`: it cannot be read."""
    problem: str = ""
    """What is wrong, and in which line; absent where nothing is."""
    servers: list[ClientServer]
    """Its servers, in its order."""


def find_client_files(km: list[str]) -> Iterator[ClientFile]:
    """Yield the configuration files that are there; *km* is how to start this km."""
    machine = Machine(
        platform=sys.platform, environment=os.environ, user_home=find_user_home(), folder=current_folder()
    )
    seen = set()
    for place in find_places(machine):
        for name in sorted(glob.glob(place.pattern, root_dir=place.root)):
            path = os.path.join(place.root, os.path.normpath(name))
            if os.path.realpath(path) not in seen:
                seen.add(os.path.realpath(path))
                file = read_client_file(place, path, km)
                if file.servers or place.form is not Form.VS_CODE_SETTINGS:  # where servers were kept once
                    yield file


def read_client_file(place: Place, path: str, km: list[str]) -> ClientFile:
    """Return what a file says; never raises for what is in it, or that it cannot be read."""
    servers: list[ClientServer] = []
    problem = ""
    try:
        found = client_config.read_servers(read_file(path), place.form)
        servers = [describe(server, place, km) for server in found]
    except OSError as error:
        problem = f"it cannot be read: {error.strerror}"
    except UnreadableConfig as error:
        problem = str(error)
    return ClientFile(
        client=place.client.name,
        path=path,
        scope=place.scope,
        state="warn" if problem else "ok",
        problem=problem,
        servers=servers,
    )


def read_file(path: str) -> bytes:
    """Return a file's bytes.  Raises OSError, also for a pipe, a folder and for more than MAX_BYTES."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", path)
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {MAX_BYTES >> 20} MB", path)
    return data


def describe(server: Server, place: Place, km: list[str]) -> ClientServer:
    """Return a server as it is shown: with its entry where km is not around it yet, or will not be found."""
    is_wrapped = client_config.is_wrapped(server.command)
    state, problem = judge_entry(server, place.client)
    is_shown = server.transport is Transport.STDIO and (not is_wrapped or bool(problem))
    return ClientServer(
        name=server.name,
        project=server.project,
        transport=server.transport.value,
        is_wrapped=is_wrapped,
        state=state,
        problem=problem,
        entry=client_config.entry(server, km, place.form) if is_shown else "",
        remark=client_config.remark(server) if is_shown else "",
    )


def judge_entry(server: Server, client: Client) -> tuple[State, str]:
    """Return whether *client* can use the entry, and what speaks against it."""
    if server.transport is Transport.UNKNOWN:
        return "warn", "its entry has no command that a client could start, and no url"
    if client_config.is_wrapped(server.command):
        return judge_program(km_program(server.command), client)
    return "ok", ""


def judge_program(program: str | None, client: Client) -> tuple[State, str]:
    """Return whether *client* will find the km that its entry names, and what speaks against it."""
    if program is None or any(mark in program for mark in VARIABLE_MARKS):
        return "ok", ""  # a launcher's, or the client's own words: nobody else can tell
    if is_absolute(program):
        return ("ok", "") if os.access(program, os.X_OK) else ("fail", f"there is no {program}")
    if os.path.dirname(program):
        return "warn", f"{program} is not an absolute path"
    if shutil.which(program) is None:
        return "fail", f"{program} is not found in PATH"
    return ("warn", f"a desktop client may not find {program}: it has no PATH") if client.is_desktop else ("ok", "")


def is_absolute(path: str) -> bool:
    """Whether *path* is absolute for this platform."""
    return os.path.isabs(path)


def absolute_km() -> list[str]:
    """Return how a client starts this km without PATH: the native program, the installed script, else its Python."""
    own = own_command()
    if len(own) == 1:
        in_path = shutil.which("km")  # a link there outlives an upgrade
        return [os.path.abspath(in_path)] if in_path and os.path.samefile(in_path, own[0]) else own
    return next(([path] for path in find_scripts() if is_own_script(path)), [own[0], "-m", "kilometers"])


def find_scripts() -> Iterator[str]:
    """Yield where the script of this very km may be: as it was started, then where this Python's scripts are."""
    name = "km.exe" if sys.platform == "win32" else "km"
    started = os.path.abspath(sys.argv[0])
    if os.path.basename(started).lower() in {"km", "km.exe"}:
        yield started if started.lower().endswith(name) else f"{started}.exe"
    yield os.path.join(os.path.dirname(sys.executable), name)
    yield os.path.join(sysconfig.get_path("scripts"), name)
    yield os.path.join(sysconfig.get_path("scripts", f"{os.name}_user"), name)


def is_own_script(path: str) -> bool:
    """Whether *path* is a script that starts km, not another program of that name."""
    try:
        return os.access(path, os.X_OK) and (
            sys.platform == "win32" or b"kilometers" in read_file(path)[:MAX_SCRIPT_BYTES]
        )
    except OSError:
        return False
