"""The checks of what is around km: file watching, versions, PATH, config.toml, the environment and certificates."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator

import apsw

from kilometers import __version__, election
from kilometers.checks import Finding, fail, ok, warn
from kilometers.client_files import absolute_km
from kilometers.config_file import read_config
from kilometers.core import settings, units
from kilometers.core.config_keys import find_entries
from kilometers.core.suggestions import suggest
from kilometers.core.trust_places import SYSTEM, Place
from kilometers.errors import KilometersError
from kilometers.paths import Home
from kilometers.shell import quote

IN_CREATE = 0x100  # inotify(7)
PREFIX = "KILOMETERS_"
HOME_VARIABLE = "KILOMETERS_HOME"
KEY_VARIABLE = "KILOMETERS_API_KEY"  # not passed on to servers
SHIMS = "shims"  # of pyenv, asdf and mise: scripts that start the version that is chosen


def check_watching(home: Home) -> Iterator[Finding]:
    """Make an inotify instance and a watch, as the recorder does: without them it polls."""
    if sys.platform != "linux":
        yield ok("no limits")
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        yield polls("inotify instances", "max_user_instances", 1024)
        return
    try:
        if os.path.isdir(home.folder) and libc.inotify_add_watch(fd, os.fsencode(home.folder), IN_CREATE) < 0:
            yield polls("inotify watches", "max_user_watches", 524_288)
    finally:
        os.close(fd)
    yield ok("inotify")


def polls(what: str, limit: str, wanted: int) -> Finding:
    """Return that something is used up, so that the recorder polls."""
    return warn(f"your {what} are used up: km looks every 250 ms instead", f"sudo sysctl fs.inotify.{limit}={wanted}")


def check_versions(home: Home) -> Iterator[Finding]:
    """Look whether this km is the newest that has recorded here."""
    newest, _ = election.look_at_lock(home)
    is_newer = election.version_key(newest.version) > election.version_key(__version__)
    if is_newer and newest.command and os.path.exists(newest.command[0]):
        command = " ".join(map(quote, newest.command))
        yield warn(f"this is km {__version__}, but {newest.version} records", f"Use the newer one: {command}")
    gone = f"; {newest.version} was here and is gone" if is_newer else ""
    yield ok(f"km {__version__}, Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}{gone}")


def check_path(_: Home) -> Iterator[Finding]:
    """Look whether the shell finds km, and whether it is this one."""
    own = absolute_km()
    found = shutil.which("km")
    command = " ".join(map(quote, own))
    if found is None:
        fix = add_to_path(os.path.dirname(own[0])) if len(own) == 1 else f"Type its whole command: {command}"
        yield warn(f"the shell does not find km, which is {command}", fix)
    elif not is_same_program(found, own[0]):
        yield warn(f"the shell finds another km first: {found}", f"Type this one's whole path: {command}")
    yield ok(found or "")


def is_same_program(found: str, own: str) -> bool:
    """Whether both are the same file, or *found* only stands for a version that is chosen elsewhere."""
    if os.path.basename(os.path.dirname(found)) == SHIMS:
        return True
    return os.path.realpath(found) == os.path.realpath(own)


def add_to_path(folder: str) -> str:
    """Return the command that puts *folder* into the shell's PATH."""
    return f'export PATH={quote(folder)}:"$PATH"' if sys.platform != "win32" else f"set PATH={folder};%PATH%"


def check_config(home: Home) -> Iterator[Finding]:
    """Read config.toml as the relay does, and look at everything that is in it."""
    config, problem = read_config(home.config_file)
    if problem:
        yield fail(f"{problem}; so payloads are not kept", f"Correct it: {home.config_file}")
    for entry in find_entries(config, {}):
        if entry.problem:
            say = fail if entry.meaning else warn  # what means nothing changes nothing
            yield say(f"{entry.key}: {entry.problem}", f"km config unset {quote(entry.key)}")
    yield ok(home.config_file if os.path.exists(home.config_file) else "not there: the defaults hold")


def check_environment(_: Home) -> Iterator[Finding]:
    """Look at the variables that are km's, or were meant to be.  Values of unknown ones are not shown: secrets."""
    known = [HOME_VARIABLE, KEY_VARIABLE, *map(settings.variable, settings.IN_ENVIRONMENT)]
    for name in sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known):
        setting = name.removeprefix(PREFIX).lower()
        if setting in settings.SETTINGS:
            yield warn(f"{name} is not read: that setting is for all sessions", f"km config set {setting} VALUE")
        else:
            yield warn(f"km knows no variable {name}", f"{suggest(name, known)}  {unset(name)}".strip())
    for setting in settings.IN_ENVIRONMENT:
        try:
            settings.resolve(setting, environment=dict(os.environ))
        except ValueError as error:
            yield fail(str(error), unset(settings.variable(setting)))
    if os.environ.get(HOME_VARIABLE):
        yield warn(
            f"{HOME_VARIABLE} is set, but clients do not pass it on: they record elsewhere",
            f"Put it into each server's env in the client too, or: {unset(HOME_VARIABLE)}",
        )
    yield ok(", ".join(name for name in known if os.environ.get(name)) or "nothing of km's is set")


def unset(name: str) -> str:
    """Return the command that takes a variable out of the environment."""
    return f"unset {name}" if sys.platform != "win32" else f"set {name}="


def check_certificates(_: Home) -> Iterator[Finding]:
    """Look whom km trusts when it speaks TLS.  Recording needs no network, so nothing that is wrong here fails."""
    from kilometers.trust import find_roots  # imports ssl

    try:
        roots = find_roots()
    except KilometersError as error:
        yield warn(error.message.rstrip("."), error.hint)
        return
    for passed in roots.passed_over:
        path, source = passed.place.path, passed.place.source
        fix = "Install your system's package ca-certificates anew" if source == SYSTEM else f"Correct {source}"
        yield warn(f"{path} {passed.problem}", f"{fix}; see: ls -ldL {quote(path)}")
    yield ok(" and ".join(f"{units.count(found.count, 'root')} from {describe(found.place)}" for found in roots.found))


def describe(place: Place) -> str:
    """Return a place for a sentence, with who named it."""
    return place.path if place.source == SYSTEM else f"{place.path} ({place.source})"
