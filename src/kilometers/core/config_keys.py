"""The keys of config.toml, `capture` or `servers.NAME.capture`, and how each setting stands.

A key is a tuple of names, nested as the file's tables are.  Written, NAME is in quotes where TOML wants them; typed, it
may go without, because a shell takes quotes away.

Pure: the caller reads the file and the environment.  Counterpart: config_editor.py, which changes the file.
"""

import json
from collections.abc import Iterator

import msgspec

from kilometers.core import settings
from kilometers.core.suggestions import suggest

SERVERS = "servers"
MAX_DIGITS = 18  # what a 64-bit integer holds, as TOML's readers may expect

Key = tuple[str, ...]
Config = dict[str, object]


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How a setting stands: *default* is what it is if the file does not set it, *problem* why it is passed over."""

    key: str
    value: str
    source: str
    default: str
    meaning: str = ""
    problem: str = ""


def write_key(key: Key) -> str:
    """Return the key as TOML writes it."""
    return ".".join(name if is_bare(name) else quote(name) for name in key)


def is_bare(name: str) -> bool:
    """Whether TOML takes the name without quotes."""
    return bool(name) and all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in name)


def quote(name: str) -> str:
    """Return the name as a TOML string, whose escapes are JSON's, and one more."""
    return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_key(text: str) -> Key | None:
    """Return the key of a setting that can be set; None for anything else.

    What stands between `servers.` and the setting is the server's name, dots and all.
    """
    if text in settings.SETTINGS:
        return (text,)
    table, _, rest = text.partition(".")
    server, _, name = rest.rpartition(".")
    if table == SERVERS and server and name in settings.PER_SERVER:
        return (SERVERS, unquote(server), name)
    return None


def unquote(name: str) -> str:
    """Return what a quoted TOML string says; anything else as it is."""
    if name[:1] not in {'"', "'"}:
        return name
    import tomllib

    try:
        read = tomllib.loads(f"name = {name}")
    except ValueError:
        return name
    return str(read["name"]) if read.keys() == {"name"} else name


def find_server_keys(config: Config) -> list[Key]:
    """Return the keys of the file that hold for one server."""
    return [(SERVERS, server, name) for server, name, _ in server_settings(config) if name in settings.PER_SERVER]


def find_unknown_keys(config: Config) -> dict[Key, object]:
    """Return what is in the file and means nothing, with its value."""
    unknown: dict[Key, object] = {(name,): value for name, value in config.items() if name not in settings.SETTINGS}
    servers = unknown.pop((SERVERS,), {})
    if not isinstance(servers, dict):
        return {**unknown, (SERVERS,): servers}
    unknown.update({(SERVERS, server): table for server, table in servers.items() if not isinstance(table, dict)})
    found = server_settings(config)
    return unknown | {
        (SERVERS, server, name): value for server, name, value in found if name not in settings.PER_SERVER
    }


def server_settings(config: Config) -> Iterator[tuple[str, str, object]]:
    """Yield (server, setting, value) of every `[servers.NAME]`."""
    servers = config.get(SERVERS)
    for server, table in (servers if isinstance(servers, dict) else {}).items():
        for name, value in (table if isinstance(table, dict) else {}).items():
            yield server, name, value


def find_entries(config: Config, environment: dict[str, str]) -> list[Entry]:
    """Return every setting, what single servers have of their own, and what is in the file for nothing."""
    keys = [*((name,) for name in settings.SETTINGS), *find_server_keys(config)]
    known = [find_entry(key, config, environment) for key in keys]
    return known + [unknown_entry(key, value) for key, value in find_unknown_keys(config).items()]


def find_entry(key: Key, config: Config, environment: dict[str, str]) -> Entry:
    """Return how one setting stands."""
    name, server = key[-1], key[1] if len(key) > 1 else ""
    seen = environment if name in settings.IN_ENVIRONMENT else {}
    given = settings.find_given(name, environment=seen, config=config, server=server)
    default, meaning = settings.SETTINGS[name]
    if server:
        default = settings.find_given(name, environment=seen, config=config).value
    problem = settings.find_problem(name, given.value)
    if problem:
        problem = f"{problem}; {applied_instead(name)} applies.{suggest_value(name, given.value)}"
    return Entry(
        key=write_key(key), value=given.value, source=given.source, default=default, meaning=meaning, problem=problem
    )


def applied_instead(name: str) -> str:
    """Return what is applied while a setting makes no sense."""
    return settings.SAFE_CAPTURE.value if name == settings.CAPTURE else settings.SETTINGS[name][0]


def unknown_entry(key: Key, value: object) -> Entry:
    """Return an entry for what means nothing."""
    shown = "a table" if isinstance(value, dict) else str(value)
    return Entry(key=write_key(key), value=shown, source="config.toml", default="", problem=what_is_wrong(key, value))


def what_is_wrong(key: Key, value: object) -> str:
    """Return why a key of the file means nothing, and what may have been meant."""
    if key[0] == SERVERS and len(key) < 3:
        return "it must be a table of a server's own settings: [servers.NAME]."
    if len(key) == 3 and isinstance(value, dict):
        return f"a name with a dot needs quotes: [servers.{quote('.'.join(key[1:]))}]."
    if len(key) == 3 and key[2] in settings.SETTINGS:
        return f"only {', '.join(settings.PER_SERVER)} can be set for one server."
    if isinstance(value, dict) and not value.keys().isdisjoint(settings.PER_SERVER):
        return f"a server's own settings belong into [{write_key((SERVERS, *key))}]."
    known = settings.PER_SERVER if key[0] == SERVERS else settings.SETTINGS
    return f"there is no such setting.{suggest(key[-1], known)}"


def read_value(name: str, text: str) -> str | int:
    """Return the value that *text* stands for, as the file should have it.  Raises ValueError for what is none."""
    problem = settings.find_problem(name, text)
    if not problem and name in settings.NUMBERS and len(text) > MAX_DIGITS:
        problem = f"it may have {MAX_DIGITS} digits at most"
    if problem:
        raise ValueError(f"{problem}.{suggest_value(name, text)}")
    return int(text) if name in settings.NUMBERS else text


def suggest_value(name: str, text: str) -> str:
    """Return a question for the choice that may have been meant; "" where there is none."""
    return suggest(text, settings.CHOICES.get(name, ()))
