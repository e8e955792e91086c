"""The options of `km monitor`, and the small parser of its fast path.

OPTIONS is the one table: `parse` below reads it without importing anything, cli.py makes the Click command from it.
What `parse` does not accept it leaves to Click, which prints the usage error or the help; a property test shows that
both accept the same argument lists with the same meaning.
"""

CAPTURE_MODES = ("full", "metadata", "off")


class MonitorOption:
    """One option: *choices* empty means any text; *metavar* empty means a flag."""

    __slots__ = ("choices", "flags", "help", "metavar", "name")

    def __init__(
        self, name: str, flags: tuple[str, ...], help: str, *, metavar: str = "", choices: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.flags = flags
        self.help = help
        self.metavar = metavar
        self.choices = choices

    @property
    def is_flag(self) -> bool:
        """Whether the option stands alone, without a value."""
        return not self.metavar


OPTIONS = (
    MonitorOption("name", ("--name",), "Call this server NAME in lists (default: made from CMD).", metavar="NAME"),
    MonitorOption(
        "capture",
        ("--capture",),
        "What is kept: full payloads, metadata only, or nothing (default: full).",
        metavar="MODE",
        choices=CAPTURE_MODES,
    ),
    MonitorOption(
        "no_stderr", ("--no-stderr",), "Leave the server's stderr alone instead of recording it as log events."
    ),
    MonitorOption("verbose", ("-v", "--verbose"), "Say on stderr what km does."),
)


class MonitorOptions:
    """What the command line asked for: None = not given, so the next source of settings decides."""

    __slots__ = ("capture", "command", "name", "no_stderr", "verbose")

    def __init__(
        self,
        command: list[str],
        *,
        name: str | None = None,
        capture: str | None = None,
        no_stderr: bool = False,
        verbose: bool = False,
    ) -> None:
        self.command = command
        self.name = name
        self.capture = capture
        self.no_stderr = no_stderr
        self.verbose = verbose


def parse(arguments: list[str]) -> MonitorOptions | None:
    """Return the options, or None where Click has something to say (help, a usage error)."""
    by_flag = {flag: option for option in OPTIONS for flag in option.flags}
    values: dict[str, str | bool] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        argument = rest.pop(0)
        if argument == "--":
            break
        if not argument.startswith("--") and len(argument) > 2:  # "-vv" is "-v -v"
            letters = [f"-{letter}" for letter in argument[1:]]
            if "--" in letters:
                return None
            rest[:0] = letters
            continue
        flag, has_value, value = argument.partition("=")
        option = by_flag.get(flag)
        if option is None or (option.is_flag and has_value):
            return None
        if option.is_flag:
            values[option.name] = True
            continue
        if not has_value:
            if not rest:
                return None
            value = rest.pop(0)
        values[option.name] = value
    if not rest or any(
        option.choices and values.get(option.name, option.choices[0]) not in option.choices for option in OPTIONS
    ):
        return None
    return MonitorOptions(rest, **values)  # type: ignore[arg-type]  # the table says which are flags
