"""`km doctor`: the checks as they are made, then the MCP clients with what to paste into them."""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import NamedTuple

import msgspec

from kilometers import console, paths
from kilometers.checks import Check, Finding, Look, State, make_check, ok, warn
from kilometers.client_files import ClientFile, ClientServer, absolute_km, find_client_files
from kilometers.core import units
from kilometers.core.client_places import CLIENTS
from kilometers.errors import EXIT_FAILED, EXIT_OK
from kilometers.home_checks import check_clock, check_disk, check_home, check_journal, check_permissions
from kilometers.machine_checks import (
    check_certificates,
    check_config,
    check_environment,
    check_path,
    check_versions,
    check_watching,
)
from kilometers.recording_checks import check_recorder, check_recording, check_store
from kilometers.signals import leaving_on_signals


class Planned(NamedTuple):
    """A check that is to be made."""

    id: str
    title: str
    look: Look
    is_made: bool = True
    """Whether there is such a thing on this system."""
    is_bounded: bool = False
    """It ends by itself, and cleans up if it is interrupted."""


CHECKS = (
    Planned("home", "home", check_home),
    Planned("journal", "journal", check_journal),
    Planned("store", "store", check_store),
    Planned("recorder", "recorder", check_recorder),
    Planned("recording", "recording", check_recording, is_bounded=True),
    # On Windows the rights of the profile's folder hold for what is in it.
    Planned("permissions", "permissions", check_permissions, is_made=sys.platform != "win32"),
    Planned("disk", "disk", check_disk),
    Planned("watching", "watching", check_watching, is_made=sys.platform == "linux"),
    Planned("versions", "versions", check_versions),
    Planned("path", "PATH", check_path),
    Planned("config", "config.toml", check_config),
    Planned("environment", "environment", check_environment),
    Planned("certificates", "certificates", check_certificates),
    Planned("clock", "clock", check_clock),
)
BAD_STATES: tuple[State, ...] = ("fail", "warn")
TITLE_WIDTH = 12
NAME_WIDTH = 24
MARKS = {"ok": ("✓", "green"), "warn": ("!", "bold yellow"), "fail": ("✗", "bold red")}
PLAIN_MARKS = {"✓": "+", "✗": "x", "·": "-"}
Part = tuple[str, str]


class Report(msgspec.Struct, kw_only=True):
    """What `km doctor --json` prints."""

    km: list[str]
    """How a client starts this km: by its absolute path."""
    checks: list[Check]
    """The checks, in their order."""
    clients: list[ClientFile]
    """The configuration files of MCP clients that were found."""
    failures: int
    """How many checks failed; not 0 = the exit status is 1."""
    warnings: int
    """How many checks warned."""


def run(*, as_json: bool) -> int:
    """Print the checks as they are made, then the clients; return the exit status."""
    report = Report(km=absolute_km(), checks=[], clients=[], failures=0, warnings=0)
    screen = None if as_json else Screen()
    with leaving_on_signals():  # the test recording's home is put away
        for check in make_checks(report):
            report.checks.append(check)
            report.failures += check.state == "fail"
            report.warnings += check.state == "warn"
            if screen:
                screen.show_check(check)
    if screen:
        screen.show_clients(report)
        screen.show_summary(report)
    else:
        console.print_json(report)
    return EXIT_FAILED if report.failures else EXIT_OK


def make_checks(report: Report) -> Iterator[Check]:
    """Yield the checks, each when it is made; the last one finds the clients for the report."""
    home = paths.find_home()
    for planned in CHECKS:
        if planned.is_made:
            yield make_check(planned.id, planned.title, planned.look, home, is_bounded=planned.is_bounded)

    def check_clients(_: paths.Home) -> Iterator[Finding]:
        for file in find_client_files(report.km):
            report.clients.append(file)
            yield from judge_client(file)
        servers = [server for file in report.clients for server in file.servers]
        wrapped = sum(server.is_wrapped for server in servers)
        files = units.count(len(report.clients), "file")
        yield ok(
            f"{files}, {units.count(len(servers), 'server')}, {wrapped} wrapped" if report.clients else "none found"
        )

    yield make_check("clients", "clients", check_clients, home)


def judge_client(file: ClientFile) -> Iterator[Finding]:
    """Say what is wrong with a client's file, and in which of its entries something is."""
    if file.problem:
        yield warn(f"{file.client}: {file.path}: {file.problem}", f"Correct it: {file.path}")
    for state in BAD_STATES:
        bad = [server.name for server in file.servers if server.state == state]
        if bad:
            where = f"{file.client}: look at {', '.join(bad)} below"
            yield Finding(state, where, f"Below is what to put into {file.path}")


class Screen:
    """Where a person reads the report: coloured and wrapped on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self.width = shutil.get_terminal_size().columns if console.is_drawn() else 0
        is_drawn = console.is_drawn()
        self.draw = make_pen() if is_drawn else write_plainly
        self.has_marks = not is_drawn or (sys.stdout.encoding or "").lower().startswith("utf")
        user_home = paths.find_user_home().rstrip(os.sep)
        self.user_home = re.compile(rf"(?<!\S){re.escape(user_home + os.sep)}") if user_home else None

    def show_check(self, check: Check) -> None:
        """Print one check: a line or more for each finding, with its fix below it."""
        head = [*self.mark(check.state), (f"{check.title:<{TITLE_WIDTH}} ", "bold")]
        indent = " " * (TITLE_WIDTH + 5)
        for detail, fix in zip_longest(check.detail.split("\n"), filter(None, check.fix.split("\n"))):
            head = self.show_text(head, detail or "", indent)
            if fix:
                self.print((f"{indent}fix: ", "bold cyan"), (console.printable(fix), "cyan"))

    def show_text(self, head: list[Part], text: str, indent: str) -> list[Part]:
        """Print a text behind *head*, its other lines indented; return what stands before the next text."""
        for line in self.wrapped(text, indent):
            self.print(*head, (line, ""))
            head = [(indent, "")]
        return head

    def show_clients(self, report: Report) -> None:
        """Print each client's file with its servers, and what to paste."""
        for file in report.clients:
            self.print()
            self.print((file.client, "bold"), (f"  {self.shortened(file.path)}", "dim"))
            self.show_servers(file)
        if not report.clients:
            self.print()
            names = ", ".join(client.name for client in CLIENTS)
            self.show_text([], f"No MCP client was found here. Looked for: {names}.", "")
        if any(server.entry for file in report.clients for server in file.servers):
            self.print()
            self.print(("Restart a client after you have changed its file; then: km sessions", ""))

    def show_servers(self, file: ClientFile) -> None:
        """Print a file's servers; those of one project together."""
        if file.problem:
            self.print(*self.mark(file.state), (console.printable(file.problem), ""))
        elif not file.servers:
            self.print(("    no servers", "dim"))
        project = ""
        width = min(NAME_WIDTH, max((len(server.name) for server in file.servers), default=0))
        for server in file.servers:
            if server.project != project:
                project = server.project
                self.print((f"    in {self.shortened(project)}", "dim"))
            self.show_server(server, width)

    def show_server(self, server: ClientServer, width: int) -> None:
        """Print one server, with what to paste below it."""
        mark = self.mark(server.state) if server.is_wrapped or server.problem else self.mark("", "·", "dim")
        indent = " " * (width + 6)
        self.show_text([*mark, (f"{console.printable(server.name):<{width}}  ", "bold")], describe(server), indent)
        for line in filter(None, server.entry.split("\n")):
            self.print((f"      {console.printable(line)}", "cyan"))

    def show_summary(self, report: Report) -> None:
        """Print the last line."""
        problems = [units.count(report.failures, "problem")] if report.failures else []
        warnings = [units.count(report.warnings, "warning")] if report.warnings else []
        style = "bold red" if problems else "bold yellow" if warnings else "bold green"
        servers = [server for file in report.clients for server in file.servers]
        bare = sum(server.transport == "stdio" and not server.is_wrapped for server in servers)
        self.print()
        self.print(
            (", ".join(problems + warnings) or "all is well", style), (f"; {bare} not wrapped" if bare else "", "")
        )

    def mark(self, state: str, sign: str = "", style: str = "") -> list[Part]:
        """Return the beginning of a line that says a state."""
        sign, style = MARKS.get(state, (sign, style))
        return [(f"  {sign if self.has_marks else PLAIN_MARKS.get(sign, sign)} ", style)]

    def wrapped(self, text: str, indent: str) -> list[str]:
        """Return the lines of a text; only on a terminal are there several."""
        shown = self.shortened(text)
        if not self.width:
            return [shown]
        room = max(20, self.width - len(indent))
        return textwrap.wrap(shown, room, break_long_words=False, break_on_hyphens=False) or [""]

    def shortened(self, text: str) -> str:
        """Return a text for a terminal, with ~ for the user's home."""
        return console.printable(self.user_home.sub(lambda _: f"~{os.sep}", text) if self.user_home else text)

    def print(self, *parts: Part) -> None:
        """Print one line at once: a check may take a second."""
        self.draw(parts)
        sys.stdout.flush()


def write_plainly(parts: tuple[Part, ...]) -> None:
    """Print a line without colours."""
    console.write_line("".join(text for text, _ in parts))


def make_pen() -> Callable[[tuple[Part, ...]], None]:
    """Return what prints a line in colours, as far as the terminal and the user want them."""
    from rich.text import Text

    from kilometers.drawing import screen

    terminal = screen()
    return lambda parts: terminal.print(Text.assemble(*parts), soft_wrap=True)


def describe(server: ClientServer) -> str:
    """Return what km is to a server, and what to do about it."""
    says = "wrapped" if server.is_wrapped else "not wrapped"
    if server.transport == "remote":
        says = "remote: km cannot record it yet"
    elif server.problem:
        says = f"wrapped, but {server.problem}" if server.is_wrapped else server.problem
    if not server.entry:
        return says
    return f"{says}; paste in its place{f' ({server.remark})' if server.remark else ''}:"
