"""Settings: flag > environment (`KILOMETERS_…`) > config.toml > default.

The environment is the relay's: it says `capture` and `journal_dir` of its own session.  How long sessions are kept is
for the recorder, which serves all sessions, so config.toml alone says that.

Pure: the caller reads the file and the environment.  Used by the relay, so it imports nothing.
"""

CAPTURE = "capture"
JOURNAL_DIR = "journal_dir"
RETENTION_DAYS = "retention_days"
RETENTION_MB = "retention_mb"

# name: (default, what it means)
SETTINGS: dict[str, tuple[str, str]] = {
    CAPTURE: ("full", "what is kept of each message: full, metadata or off"),
    JOURNAL_DIR: ("", "the journal's folder; default: in memory where the OS has such a folder"),
    RETENTION_DAYS: ("30", "sessions older than this are deleted"),
    RETENTION_MB: ("1000", "the oldest sessions are deleted while those that have ended take more than this"),
}
CHOICES = {CAPTURE: ("full", "metadata", "off")}
NUMBERS = (RETENTION_DAYS, RETENTION_MB)
IN_ENVIRONMENT = (CAPTURE, JOURNAL_DIR)
PER_SERVER = (CAPTURE,)


class Resolved:
    """A setting's value and where it came from: flag, environment, config.toml or default."""

    __slots__ = ("source", "value")

    def __init__(self, value: str, source: str) -> None:
        self.value = value
        self.source = source


# What is applied where nobody can say what was meant.
SAFE_CAPTURE = Resolved("metadata", "the safe side: the settings could not be read")


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"KILOMETERS_{name.upper()}"


def resolve(
    name: str,
    *,
    flag: str | None = None,
    environment: dict[str, str] | None = None,
    config: dict[str, object] | None = None,
    server: str = "",
) -> Resolved:
    """Return a setting's value; a server's own table (`[servers.NAME]`) goes before the rest of the file.

    Raises ValueError, naming the setting, its source and what it may be.
    """
    given = find_given(name, flag=flag, environment=environment, config=config, server=server)
    problem = find_problem(name, given.value)
    if problem:
        raise ValueError(f'{name} = "{given.value}" ({given.source}): {problem}')
    return given


def find_problem(name: str, value: str) -> str:
    """Return what a setting's value must be where it is not that; "" where it is."""
    choices = CHOICES.get(name)
    if choices and value not in choices:
        return f"it may be {', '.join(choices)}"
    if name in NUMBERS and not (value.isascii() and value.isdigit()):
        return "it must be a whole number"
    return ""


def find_given(
    name: str,
    *,
    flag: str | None = None,
    environment: dict[str, str] | None = None,
    config: dict[str, object] | None = None,
    server: str = "",
) -> Resolved:
    """Return what the first source that has something says of a setting, whether it makes sense or not."""
    environment, config = environment or {}, config or {}
    if flag is not None:
        return Resolved(flag, "flag")
    if environment.get(variable(name)):
        return Resolved(environment[variable(name)], "environment")
    servers = config.get("servers")
    own = servers.get(server) if isinstance(servers, dict) else None
    if isinstance(own, dict) and name in own:
        return Resolved(str(own[name]), "config.toml")
    if name in config:
        return Resolved(str(config[name]), "config.toml")
    return Resolved(SETTINGS[name][0], "default")
