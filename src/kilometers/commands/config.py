"""`km config`: each setting's value and where it came from; changing config.toml."""

import os

from kilometers import config_editor, console, paths, tables
from kilometers.commands.completion import recorded_servers
from kilometers.config_file import read_config
from kilometers.core import config_keys, settings
from kilometers.core.config_keys import Entry, Key, write_key
from kilometers.core.suggestions import suggest
from kilometers.errors import EXIT_USAGE, KilometersError

COLUMNS = ("KEY", "VALUE", "SOURCE", "DEFAULT")
AUTOMATIC = "automatic"


def run(*, as_json: bool) -> None:
    """Print every setting with its value, source and default; on stderr what is wrong."""
    found = config_keys.find_entries(read_settings(), dict(os.environ))
    if as_json:
        for entry in found:
            console.print_json(entry)
        return
    tables.print_rows(COLUMNS, (row(entry) for entry in found))
    for entry in found:
        if entry.problem:
            console.say(f"km: {problem_of(entry)}")


def row(entry: Entry) -> tuple[str, ...]:
    """Return a setting's cells; to a person also what it means that journal_dir is nowhere set."""
    nothing = AUTOMATIC if console.is_drawn() and entry.meaning else ""
    return entry.key, entry.value or nothing, entry.source, entry.default or nothing


def get(key: str) -> None:
    """Print a setting's value; a server's is the general one where it has none of its own."""
    found = known_key(key)
    entry = config_keys.find_entry(found, read_settings(), dict(os.environ))
    if entry.problem:
        name = settings.variable(found[-1])
        mend = f"Change {name}." if entry.source == "environment" else f"Mend it: km config set {entry.key} VALUE"
        raise KilometersError(problem_of(entry), mend)
    console.write_line(console.printable(entry.value) if console.is_terminal() else entry.value)


def set_value(key: str, value: str) -> None:
    """Set a value in config.toml, and say from when on it holds."""
    for typed in (key, value):
        typed.encode()  # or the funnel says that it is no valid text
    found = known_key(key)
    text = whole_path(value) if found[-1] == settings.JOURNAL_DIR else value
    read = read_value(found, text)
    config_editor.set_value(paths.find_home(), found, read)
    say(f"{write_key(found)} is now {read}.", when(found))
    say_what_is_in_the_way(found, str(read))


def unset(key: str) -> None:
    """Take a value out of config.toml, also one that means nothing."""
    home = paths.find_home()
    unknown = config_keys.find_unknown_keys(read_settings())
    found = next((one for one in unknown if key in {write_key(one), ".".join(one)}), None)
    if found is not None:
        config_editor.remove_value(home, found)
        say(f"{key} is gone from {home.config_file}.")
        return
    found = known_key(key)
    if not config_editor.remove_value(home, found):
        say(f"{key} was not set in {home.config_file}.")
        return
    entry = config_keys.find_entry(found, read_settings(), dict(os.environ))
    say(f"{entry.key} is now {entry.value or AUTOMATIC} ({entry.source}).", when(found))


def path() -> None:
    """Print where config.toml is."""
    console.write_line(paths.find_home().config_file)


def find_keys(typed: str) -> list[str]:
    """Return the keys that begin with *typed*, for a shell's completion: no quotes, which shells take away."""
    config, _ = read_config(paths.find_home().config_file)
    servers = dict.fromkeys([server for _, server, _ in config_keys.find_server_keys(config)] + recorded_servers())
    keys = [(config_keys.SERVERS, server, name) for server in servers for name in settings.PER_SERVER]
    written = [*settings.SETTINGS, *(write_key(key) for key in keys if config_keys.is_bare(key[1]))]
    return [key for key in written if key.startswith(typed)]


def find_values(key: str, typed: str) -> list[str]:
    """Return the values of a setting that begin with *typed*, for a shell's completion."""
    found = config_keys.read_key(key)
    return [value for value in settings.CHOICES.get(found[-1] if found else "", ()) if value.startswith(typed)]


def read_settings() -> dict[str, object]:
    """Return what config.toml says.  Raises KilometersError where it cannot be read."""
    return config_editor.check(read_config(paths.find_home().config_file))


def known_key(text: str) -> Key:
    """Return the key of a setting.  Raises KilometersError, exit 2, for any other."""
    key = config_keys.read_key(text)
    if key is None:
        server, _, name = text.removeprefix("servers.").rpartition(".")
        known = [*settings.SETTINGS, *(f"servers.{server or 'NAME'}.{name}" for name in settings.PER_SERVER)]
        why = suggest(text, known)
        if text.startswith("servers.") and name in settings.SETTINGS:
            per_server = ", ".join(settings.PER_SERVER)
            why = f" Only {per_server} can be set for one server." if server else " The server's name is missing."
        raise KilometersError(
            f'no setting "{console.printable(text)}".{why}',
            "See all with: km config",
            exit_status=EXIT_USAGE,
        )
    return key


def read_value(key: Key, text: str) -> str | int:
    """Return the value as the file should have it.  Raises KilometersError, exit 2, for what is none."""
    try:
        return config_keys.read_value(key[-1], text)
    except ValueError as error:
        raise KilometersError(
            f'{write_key(key)} cannot be "{console.printable(text)}":', str(error), exit_status=EXIT_USAGE
        ) from error


def whole_path(text: str) -> str:
    """Return a folder's path from the root on.  Raises KilometersError, exit 2, for a relative one."""
    folder = os.path.expanduser(text)
    if os.path.isabs(folder):
        return folder
    raise KilometersError(
        f'journal_dir cannot be "{console.printable(text)}": each server starts in a folder of its own.',
        "Give the whole path." if text else "To let km choose: km config unset journal_dir",
        exit_status=EXIT_USAGE,
    )


def problem_of(entry: Entry) -> str:
    """Return what is wrong with a setting, in one sentence or two."""
    return console.printable(f"{entry.key} = {entry.value} ({entry.source}): {entry.problem}")


def when(key: Key) -> str:
    """Return from when on a change holds."""
    if key[-1] in settings.IN_ENVIRONMENT:
        return "It holds for sessions that start from now on."
    return "Sessions beyond it are deleted within two minutes, once a recorder works."


def say_what_is_in_the_way(key: Key, text: str) -> None:
    """Say on stderr why the new value may not do what was meant."""
    name = settings.variable(key[-1])
    value = os.environ.get(name)
    if value and key[-1] in settings.IN_ENVIRONMENT:
        say(f"But where {name} is set, as it is here ({value}), that goes before.")
    if key[-1] in settings.NUMBERS and int(text) == 0:
        say("But 0 keeps nothing: every session is deleted soon after it has ended.")
    if key[-1] == settings.JOURNAL_DIR and not paths.can_be_private(text):
        say("But it cannot be used: it has to be, or to become, a folder that is yours alone (mode 0700).")
    known = recorded_servers()
    if len(key) > 1 and known and key[1] not in known:
        say(f'No server called "{key[1]}" has been recorded yet.{suggest(key[1], known)}')


def say(*sentences: str) -> None:
    """Print what may hold a name from a command line or a file, a sentence a line."""
    for sentence in sentences:
        console.say(console.printable(sentence))
