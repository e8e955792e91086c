"""Changing config.toml: comments and order stay, and the file is the old one or the new one at any moment.

Counterpart: config_file.py, which reads it.  tomlkit edits; the standard library's parser then has to read what was
meant, and nothing else.  Whoever changes the file holds `config.lock` in the home, so that two changes at once are both
kept.
"""

import os
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from kilometers import console, locks, paths
from kilometers.config_file import read_config
from kilometers.core.config_keys import Key, write_key
from kilometers.errors import KilometersError

if sys.platform == "darwin":
    import fcntl

Table = MutableMapping[str, Any]


def set_value(home: paths.Home, key: Key, value: str | int) -> None:
    """Put a value into the file, which is made if need be.  Raises KilometersError."""
    with open_for_change(home) as target:
        write_text(target, edited(read_text(target), key, lambda table: put(table, key, value)))


def remove_value(home: paths.Home, key: Key) -> bool:
    """Take a value out of the file; whether it was there.  Raises KilometersError."""
    with open_for_change(home) as target:
        if not has_value(check(read_config(target)), key):
            return False
        write_text(target, edited(read_text(target), key, lambda table: drop(table, key)))
    return True


@contextmanager
def open_for_change(home: paths.Home) -> Iterator[str]:
    """Yield the path of the file itself, behind any links, while nobody else changes it.

    Raises KilometersError where the file or the lock cannot be written.
    """
    target = os.path.realpath(home.config_file)
    try:
        paths.make_home(home)
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        fd = os.open(os.path.join(home.folder, "config.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            locks.wait_for_lock(fd)
            yield target
        finally:
            os.close(fd)
    except OSError as error:
        raise KilometersError(
            f"{home.config_file} was not changed: {error.filename or target}: {error.strerror}.",
            "That folder has to be yours, on a disk with room.",
        ) from error


def read_text(target: str) -> str:
    """Return the file's text, "" where it is not there.  Raises KilometersError where it is no TOML."""
    check(read_config(target))
    try:
        with open(target, encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def check(read: tuple[dict[str, object], str]) -> dict[str, object]:
    """Return what read_config has read.  Raises KilometersError where it found a problem."""
    config, problem = read
    if problem:
        raise KilometersError(
            f"{console.printable(problem)}.",
            "Until that is mended, sessions are recorded without payloads. Edit the file that `km config path` prints.",
        )
    return config


def sync(fd: int) -> None:
    """Wait until the disk has the file; macOS' fsync does not wait for the disk's own cache.  Raises OSError."""
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fsync(fd)


def write_text(target: str, text: str) -> None:
    """Replace the file, whole or not at all.  Raises OSError."""
    new = f"{target}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    fd = os.open(new, flags, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(text.encode())
            file.flush()
            sync(fd)
        os.replace(new, target)
    except BaseException:
        os.unlink(new)
        raise


def edited(text: str, key: Key, edit: Callable[[Table], None]) -> str:
    """Return the text after *edit*.  Raises KilometersError unless exactly that has changed what it says."""
    import tomllib

    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    expected = tomllib.loads(text)
    try:
        document = tomlkit.parse(text)
        edit(expected)
        edit(document)
        result = document.as_string()
        is_as_meant = without_empty_tables(tomllib.loads(result)) == without_empty_tables(expected)
    except (TOMLKitError, ValueError, TypeError, KeyError):
        is_as_meant = False
    if not is_as_meant:
        raise KilometersError(
            f"{write_key(key)} cannot be changed: config.toml has something else in its place.",
            "Edit the file that `km config path` prints.",
        )
    return result


def put(table: Table, key: Key, value: object) -> None:
    """Set a value, with the tables that it needs.  Raises TypeError where something else is in their place."""
    name, rest = key[0], key[1:]
    if rest and name in table:
        put(table[name], rest, value)
        return
    for inner in reversed(rest):
        value = {inner: value}
    table[name] = value


def drop(table: Table, key: Key) -> None:
    """Take a value out."""
    for name in key[:-1]:
        table = table[name]
    del table[key[-1]]


def without_empty_tables(value: object) -> object:
    """Return what a table says: that it is there, with nothing in it, means nothing."""
    if not isinstance(value, dict):
        return value
    kept = {name: without_empty_tables(inner) for name, inner in value.items()}
    return {name: inner for name, inner in kept.items() if inner != {}}


def has_value(table: Table, key: Key) -> bool:
    """Whether the key is there."""
    for name in key[:-1]:
        table = table.get(name, {})
        if not isinstance(table, dict):
            return False
    return key[-1] in table
