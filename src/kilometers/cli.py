"""The Click commands: options in, one call per command out."""

from collections.abc import Callable
from typing import Any

import click

from kilometers import __version__, funnel
from kilometers.commands import (
    clear,
    completion,
    config,
    events,
    export,
    monitor,
    sessions,
    show,
    stats,
    status,
    tail,
    version,
    welcome,
)
from kilometers.commands.reading import parse_filter
from kilometers.core import monitor_options
from kilometers.core.event import STATUSES
from kilometers.statistics import GROUPINGS

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
SECTIONS = {
    "Record": {
        "demo": "See it work: a real client and server, what km captured.",
        "monitor": "Wrap a server: bytes pass untouched and are recorded.",
    },
    "See what happened": {
        "sessions": "List sessions, newest first.",
        "show": "Draw a session's timeline, or show one event's payload.",
        "events": "List events, filter and search them.",
        "tail": "Follow what happens, live.",
        "stats": "Calls, errors, latencies, bytes: by tool, server, client.",
        "export": "Write events as JSON lines or CSV.",
    },
    "Look after it": {
        "status": "What is being recorded, by whom, and what is missing.",
        "doctor": "Check that all works, with fixes; find your MCP clients.",
        "config": "Show and change settings.",
        "clear": "Delete recorded sessions.",
        "completion": "Print a completion script for your shell.",
        "version": "Print km's version and what it runs on.",
    },
}
SESSION_HELP = "SESSION is an id, its last 8 digits, or a server's name (its latest session); default: the latest.\n\n"
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON: one value, or one per line for lists.")
ALL = click.option("--all", "with_all", is_flag=True, help="Probe sessions too.")
LIMIT = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N.")
SINCE = click.option("--since", metavar="WHEN", help="Not older than: 90s, 10m, 2h, 7d, or a date.")
SESSION = click.argument("session", required=False, shell_complete=completion.find_sessions)
FILTERS = (
    click.option("--method", metavar="GLOB", help="Only this method, e.g. 'tools/*'."),
    click.option("--tool", metavar="GLOB", help="Only calls of this tool."),
    click.option(
        "--status",
        type=click.Choice(STATUSES),
        metavar="STATUS",
        help=f"Only answers with: {', '.join(STATUSES)}.",
    ),
    SINCE,
    click.option("--search", metavar="TEXT", help="Only events whose JSON contains TEXT, in any ASCII case."),
)


class Sections(click.Group):
    """The group of all commands; its help lists them by what they are for."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise funnel.ClosedPipe from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # Click's
        """Write the sections."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([*commands.items()])


@click.group(
    cls=Sections,
    invoke_without_command=True,
    context_settings=CONTEXT,
    help="Kilometers: a flight recorder for MCP.\n\nAlone, km says what it has recorded and what to do next.",
)
@click.version_option(__version__, "-V", "--version", prog_name="km", message="%(prog)s %(version)s")
@click.pass_context
def km(context: click.Context) -> None:
    """Hold the commands."""
    if context.invoked_subcommand is None:
        welcome.run()


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which events are wanted."""
    for option in reversed(FILTERS):
        command = option(command)
    return command


def monitor_command() -> click.Command:
    """Return `km monitor`, made from the table that the fast path's parser reads too."""

    def call(command: tuple[str, ...], **values: Any) -> int:  # noqa: ANN401  # what the table's options hold
        return monitor.run(monitor_options.MonitorOptions(list(command), **values))

    parameters: list[click.Parameter] = [
        click.Option(
            [*option.flags],
            is_flag=option.is_flag or None,  # given as False, it would make the value optional
            metavar=option.metavar or None,
            type=click.Choice(option.choices) if option.choices else None,
            help=option.help,
        )
        for option in monitor_options.OPTIONS
    ]
    parameters.append(
        click.Argument(
            ["command"],
            nargs=-1,
            required=True,
            type=click.UNPROCESSED,
            metavar="[--] CMD...",
            shell_complete=click.Path().shell_complete,
        )
    )
    return click.Command(
        "monitor",
        params=parameters,
        callback=call,
        context_settings={**CONTEXT, "allow_interspersed_args": False},
        help="Wrap the stdio MCP server that CMD starts: bytes pass through untouched and are recorded.\n\n"
        "\b\nExample: km monitor -- npx -y @modelcontextprotocol/server-everything\n\n"
        "Exits with the server's own status; 125 if km could not begin, 126 and 127 as a shell does.",
    )


km.add_command(monitor_command())


@km.command(
    "demo",
    context_settings={"allow_interspersed_args": False},
    help="Run a real MCP client and server through km monitor, then show what was captured.\n\n"
    "With a COMMAND the client connects to that server instead, asks what it offers (calls no tool), and the session "
    "is kept.\n\n"
    "\b\nExample: km demo\n         km demo -- npx -y @modelcontextprotocol/server-everything",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[--] [COMMAND...]")
def _demo(command: tuple[str, ...]) -> int:
    from kilometers.commands import demo  # as doctor

    return demo.run(list(command))


@km.command("sessions", help="List sessions, newest first.\n\n\b\nExample: km sessions --since 2h")
@SINCE
@click.option("--search", metavar="TEXT", help="Only those whose name, command or identity contains TEXT.")
@LIMIT
@ALL
@JSON
def _sessions(since: str | None, search: str | None, limit: int | None, with_all: bool, as_json: bool) -> None:
    sessions.run(since=since, search=search, limit=limit, with_probes=with_all, as_json=as_json)


@km.command(
    "events",
    help=f"List the events of SESSION, in their order; with --search newest first, as found.\n\n{SESSION_HELP}"
    "\b\nExample: km events server-everything --tool 'get-*' --status tool_error",
)
@SESSION
@filters
@LIMIT
@click.option("--all", "with_all", is_flag=True, help="Of all sessions, probes included.")
@JSON
def _events(session: str | None, limit: int | None, with_all: bool, as_json: bool, **typed: str | None) -> None:
    events.run(session, parse_filter(**typed), limit=limit, with_all=with_all, as_json=as_json)


@km.command(
    "tail",
    help="Follow what happens, until ^C: the last 10 events, then each new one as it is recorded.\n\n"
    "SESSION is an id, its last 8 digits, or a server's name (also its coming sessions); default: all sessions.\n\n"
    "\b\nExample: km tail --tool 'get-*'",
)
@SESSION
@filters
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="No more than N events; without --since only new ones.",
)
@JSON
def _tail(session: str | None, limit: int | None, as_json: bool, **typed: str | None) -> None:
    tail.run(session, parse_filter(**typed), limit=limit, as_json=as_json)


@km.command(
    "show",
    help=f"Show a session's timeline, or one event with its payload.\n\n{SESSION_HELP}"
    "\b\nExample: km show server-everything\n         km show server-everything:12",
)
@click.argument("session", required=False, metavar="[SESSION[:SEQ]]", shell_complete=completion.find_sessions)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The last N events of the session.")
@click.option("--full", is_flag=True, help="Everything: no event left out, nothing folded.")
@JSON
def _show(session: str | None, limit: int | None, full: bool, as_json: bool) -> None:
    show.run(session, limit=limit, is_full=full, as_json=as_json)


@km.command(
    "stats",
    help="Count calls and errors, with latencies and bytes, by tool, server, client or method.\n\n"
    "\b\nExample: km stats --by server --since 24h",
)
@click.option("--by", type=click.Choice([*GROUPINGS]), default="tool", show_default=True, help="What a line is.")
@SINCE
@click.option("--server", metavar="GLOB", help="Only servers of this name.")
@JSON
def _stats(by: str, since: str | None, server: str | None, as_json: bool) -> None:
    stats.run(by, since=since, server=server, as_json=as_json)


@km.command(
    "export",
    help="Write events as JSON lines or CSV, session by session: of SESSION, or everything.\n\n"
    "\b\nExample: km export --since 7d -o week.csv",
)
@SESSION
@filters
@click.option(
    "--format",
    "form",
    type=click.Choice(export.FORMATS),
    help="As what; default: as FILE ends, else jsonl.  In CSV what a spreadsheet would run as a formula gets a '.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="FILE",
    help="Write to FILE, which must not be there yet; default: standard output.",
)
def _export(session: str | None, form: str | None, output: str | None, **typed: str | None) -> None:
    export.run(session, parse_filter(**typed), form=form, output=output)


@km.command("status", help="Say what is being recorded, by whom, and what is missing.\n\n\b\nExample: km status --json")
@JSON
def _status(as_json: bool) -> None:
    status.run(as_json=as_json)


@km.command(
    "doctor",
    help="Check that recording works, and print the command that mends what does not; find the MCP clients on this "
    "machine (read-only) and print what to paste to wrap their servers.  Exits 1 if a check fails.\n\n"
    "\b\nExample: km doctor",
)
@JSON
def _doctor(as_json: bool) -> int:
    from kilometers.commands import doctor  # what it imports would delay every other command

    return doctor.run(as_json=as_json)


@km.group(
    "config",
    invoke_without_command=True,
    help="Show each setting: its value, where it came from, its default.\n\n"
    "KEY is a setting, or servers.NAME.SETTING for one server.\n\n"
    "\b\nExample: km config set servers.my-server.capture metadata",
)
@JSON
@click.pass_context
def _config(context: click.Context, as_json: bool) -> None:
    if context.invoked_subcommand is None:
        config.run(as_json=as_json)


KEY = click.argument("key", shell_complete=lambda _context, _parameter, typed: config.find_keys(typed))


@_config.command("get", help="Print a setting's value.\n\n\b\nExample: km config get capture")
@KEY
def _config_get(key: str) -> None:
    config.get(key)


@_config.command(
    "set", help="Set a value in config.toml, whose comments stay.\n\n\b\nExample: km config set retention_days 14"
)
@KEY
@click.argument(
    "value", shell_complete=lambda context, _, typed: config.find_values(context.params.get("key") or "", typed)
)
def _config_set(key: str, value: str) -> None:
    config.set_value(key, value)


@_config.command("unset", help="Take a value out of config.toml.\n\n\b\nExample: km config unset retention_days")
@KEY
def _config_unset(key: str) -> None:
    config.unset(key)


@_config.command("path", help="Print where config.toml is.\n\n\b\nExample: $EDITOR $(km config path)")
def _config_path() -> None:
    config.path()


@km.command(
    "clear",
    help="Delete recorded sessions that have ended: SESSION, those of --older-than, or --all.\n\n"
    "Says what it would delete and asks first; elsewhere than on a terminal it needs --yes.\n\n"
    "\b\nExample: km clear --older-than 7d --dry-run",
)
@SESSION
@click.option("--older-than", metavar="WHEN", help="Sessions that began before: 2h, 7d, 4w, or a date.")
@click.option("--all", "with_all", is_flag=True, help="All sessions.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def _clear(session: str | None, older_than: str | None, with_all: bool, dry_run: bool, yes: bool) -> None:
    wanted = clear.Wanted(session=session, older_than=older_than, with_all=with_all)
    clear.run(wanted, is_dry_run=dry_run, is_confirmed=yes)


@km.command(
    "completion",
    help="Print a script that completes km's commands, options, sessions and settings in your shell.\n\n"
    '\b\nExample: eval "$(km completion bash)"',
)
@click.argument("shell", type=click.Choice(completion.SHELLS))
def _completion(shell: str) -> None:
    completion.run(shell)


@km.command("version", help="Print km's version and what it runs on.\n\n\b\nExample: km version --licenses")
@click.option("--licenses", "with_licences", is_flag=True, help="Print the licences of what km is made of.")
@JSON
def _version(with_licences: bool, as_json: bool) -> None:
    version.run(as_json=as_json, with_licences=with_licences)


@km.command(
    "recorder",
    help="Record until nothing is left to record; started by km itself.\n\n\b\nExample: km recorder",
    hidden=True,
)
def _recorder() -> int:
    from kilometers import recorder

    return recorder.run()


@km.command(
    "demo-server",
    help="Be one of the MCP servers of km demo, over stdio.\n\n\b\nExample: km demo -- km demo-server notes",
    hidden=True,
)
@click.argument("name", metavar="NAME")
def _demo_server(name: str) -> None:
    from kilometers.commands import demo_server

    demo_server.start(name)


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit status."""
    return funnel.run(lambda: km.main(arguments, prog_name="km", standalone_mode=False))
