"""`km demo`: real MCP clients and servers through the real `km monitor`, then what was captured.

Alone it holds two conversations with servers of its own, one in each era of the protocol, in a home that is gone
afterwards.  With a command it asks that server what it offers, calls no tool, and keeps the session.
Counterparts: demo_client.py and demo_server.py, the two ends of each conversation.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import msgspec

from kilometers import console, paths, shell
from kilometers.commands import sessions, show, stats
from kilometers.commands.demo_client import CLIENT, HURRY_S, Call, Client, Json, NoAnswer, Server, read
from kilometers.commands.reading import has_ended_journals, open_store
from kilometers.core import units
from kilometers.core.facts import MODERN
from kilometers.core.server_name import server_name
from kilometers.core.summary import SessionSummary
from kilometers.errors import EXIT_CANNOT_BEGIN, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_OK, KilometersError
from kilometers.program import own_command
from kilometers.queries import NothingRecorded
from kilometers.signals import leaving_on_signals
from kilometers.temporary_home import temporary_home

OWN_PATIENCE_S = 10.0
PATIENCE_S = 30.0  # npx and uvx may have to download the server first
SAY_WAITING_AFTER_S = 3.0
MODEL_S = 0.12
RECORDED_WITHIN_S = 3.0
LOOK_EVERY_S = 0.02
LONGEST_COMMAND = 120
MAX_PAGES = 50
LISTS = ("tools", "prompts", "resources")
LAUNCHED = (("npx", "-y", "@modelcontextprotocol/server-everything"), ("uvx", "mcp-server-time"))
CANNOT_START = {EXIT_CANNOT_BEGIN, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND}


class InputRequired(msgspec.Struct, rename="camel", frozen=True):
    """A result that asks for more: questions by their names, and what to bring back with the answers."""

    input_requests: dict[str, msgspec.Raw]
    request_state: str


class Page(msgspec.Struct, rename="camel", frozen=True):
    """A page of any of the LISTS."""

    tools: list[msgspec.Raw] = []
    prompts: list[msgspec.Raw] = []
    resources: list[msgspec.Raw] = []
    next_cursor: str | None = None


def run(command: list[str]) -> int:
    """Hold the demo's own conversations, or one with the server that *command* starts."""
    with leaving_on_signals():
        if command:
            try_server(command)
        else:
            show_own_servers()
    return EXIT_OK


def show_own_servers() -> None:
    """Hold both conversations in a home of their own, show what km has of them, and say what to try next."""
    say("Two servers, notes and calendar, talk with their clients through `km monitor`.")
    say("All of it is recorded in a temporary folder, which is gone afterwards.")
    with temporary_home() as home:
        hold_conversations()
        if find_recorded(CONVERSATIONS, 0).keys() != CONVERSATIONS.keys():
            raise KilometersError(
                f"not all could be recorded in {os.path.dirname(home.folder)}.",
                "Is its disk full?  Set TMPDIR to another folder.",
            )
        show_what_was_recorded()
    launched = next((command for command in LAUNCHED if shutil.which(command[0])), None)
    if launched is None:
        say_doctor()
        return
    say("\nNext, somebody else's server (its tools are listed, none is called):")
    say_typed("demo", "--", *launched)


def show_what_was_recorded() -> None:
    """Print what the commands print that a user would type."""
    say_heading("sessions")
    sessions.run(since=None, search=None, limit=None, with_probes=False, as_json=False)
    for name in CONVERSATIONS:
        say_heading("show", name)
        show.run(name, as_json=False)
    say_heading("stats")
    stats.run("tool", since=None, server=None, as_json=False)
    sys.stdout.flush()


def hold_conversations() -> None:
    """Hold both conversations at the same time.  Raises KilometersError where one breaks off.

    On threads, which no signal interrupts: a relay that is just being started is then never forgotten.
    """
    clients: list[Client] = []
    with ThreadPoolExecutor() as pool:
        held = [pool.submit(hold, name, clients) for name in CONVERSATIONS]
        try:
            for one in held:
                one.result()
        except BaseException:
            for client in clients:
                client.end(HURRY_S)  # whoever still talks finds that the server has ended
            raise


def hold(name: str, clients: list[Client]) -> None:
    """Hold the conversation with one of the demo's own servers; its client is in *clients* from the start."""
    km = own_command()
    command = [*km, "monitor", "--name", name, "--", *km, "demo-server", name]
    capabilities: Json = {"sampling": {}} if name == "notes" else {"elicitation": {"form": {}}}
    answers = {"sampling/createMessage": sample}
    with Client(command, patience_s=OWN_PATIENCE_S, capabilities=capabilities, answers=answers) as client:
        clients.append(client)
        try:
            CONVERSATIONS[name](client)
        except NoAnswer as reason:
            raise KilometersError(f"the demo's {name} server {reason}.{last_words(client)}\nSee: km doctor") from reason


def talk_to_notes(client: Client) -> None:
    """Talk as clients did up to 2025-11-25: a handshake first, and the server may ask, too."""
    client.greet()
    client.ask("tools/list")
    call_tool(client, "add", title="recipes/waffles", text="Like pancakes, with a grid.")
    importing = start_tool(client, "import", file="notes.zip")
    client.hear_progress(importing)
    call_tool(client, "search", query="milk")
    syncing = start_tool(client, "sync", remote="laptop")
    client.hear_progress(syncing)
    client.hear_progress(syncing)
    client.cancel(syncing, "The user closed the window.")
    client.wait(importing)
    call_tool(client, "digest", title="recipes/pancakes")
    call_tool(client, "delete", title="recipes/haggis")
    client.ask("resources/read", {"uri": "notes://recipes/haggis"})
    call_tool(client, "export")


def talk_to_calendar(client: Client) -> None:
    """Talk as clients do from 2026-07-28 on: each request says all of itself, and answers may require input."""
    client.version = MODERN
    client.ask("tools/list")
    call_tool(client, "today")
    listening = client.send("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["calendar://today"]}})
    client.hear("notifications/subscriptions/acknowledged")
    finding = start_tool(client, "propose", minutes="45")
    client.hear_progress(finding)
    inviting = start_tool(client, "invite", meeting="design review")
    client.hear_progress(inviting)
    client.cancel(inviting, "The user thought better of it.")
    client.wait(finding)
    move = {"name": "move", "arguments": {"meeting": "design review", "to": "15:00"}}
    needed = read(client.ask("tools/call", move), "tools/call", InputRequired)
    agreed = {name: {"action": "accept", "content": {"sure": True}} for name in needed.input_requests}
    client.ask("tools/call", {**move, "inputResponses": agreed, "requestState": needed.request_state})
    client.hear("notifications/resources/updated")
    call_tool(client, "book", room="Room 2.11")
    call_tool(client, "brew_tea")
    client.cancel(listening, "The window was closed.")


CONVERSATIONS: dict[str, Callable[[Client], None]] = {"notes": talk_to_notes, "calendar": talk_to_calendar}


def call_tool(client: Client, tool: str, **arguments: str) -> None:
    """Call a tool and wait for its answer, whatever it is."""
    client.ask("tools/call", {"name": tool, "arguments": arguments})


def start_tool(client: Client, tool: str, **arguments: str) -> Call:
    """Call a tool that reports its progress, without waiting."""
    return client.send("tools/call", {"name": tool, "arguments": arguments}, with_progress=True)


def sample() -> Json:
    """Answer as a model does: after a while."""
    time.sleep(MODEL_S)
    content = {"type": "text", "text": "Pancakes are flour, milk and eggs."}
    return {"result": {"role": "assistant", "content": content, "model": "demo-model", "stopReason": "endTurn"}}


def try_server(command: list[str], *, patience_s: float = PATIENCE_S) -> None:
    """Ask the server that *command* starts what it offers, keep the session, and show it.

    Raises KilometersError where it does not start, or does not answer as an MCP server.
    """
    began_us = time.time_ns() // 1000
    client = Client([*own_command(), "monitor", "--", *command], patience_s=patience_s)
    with client:
        try:
            with saying_that_it_waits(command[0]):
                server = client.greet()
            offers = count_offers(client, server)
        except NoAnswer as reason:
            raise explain(command, client, reason) from reason
    name = server_name(command)
    for sentence in describe(name, server, offers):
        say(console.printable(sentence))
    recorded = find_recorded([name], began_us)
    if not recorded:
        raise KilometersError("the session was not recorded.", "Is capture off (km config)?  Otherwise: km doctor")
    say_heading("show", name)
    show.run(recorded[name].session_id, as_json=False)
    sys.stdout.flush()
    say("\nThe session is kept.")
    say_doctor()


def count_offers(client: Client, server: Server) -> dict[str, int]:
    """Return how many tools, prompts and resources the server lists, of what it says it has.  Raises NoAnswer."""
    calls = {name: client.send(f"{name}/list") for name in LISTS if name in server.capabilities}
    return {name: count_pages(client, call, name) for name, call in calls.items()}


def count_pages(client: Client, call: Call, name: str) -> int:
    """Return how many items a list has, all its pages together; 0 where the server refuses it.  Raises NoAnswer."""
    count = 0
    for _ in range(MAX_PAGES):
        answer = client.wait(call)
        page = read(answer, call.method, Page) if answer.kind == "response" else Page()
        count += len(getattr(page, name))
        if not page.next_cursor:
            break
        call = client.send(call.method, {"cursor": page.next_cursor})
    return count


def describe(name: str, server: Server, offers: dict[str, int]) -> list[str]:
    """Say what the server is and what it offers, a sentence each."""
    counted = [units.count(number, kind.removesuffix("s")) for kind, number in offers.items()]
    return [
        f"{server.name or name} speaks MCP {server.protocol_version}.",
        f"It offers {', '.join(counted) or 'nothing that can be listed'}; no tool was called.",
    ]


def find_recorded(names: Collection[str], began_us: int) -> dict[str, SessionSummary]:
    """Return the latest session of each name, held by this client since then and recorded to its end.

    Waits while a session that has ended is still being recorded: the recorder stands back on a busy machine.
    """
    deadline_s = time.monotonic() + RECORDED_WITHIN_S
    while True:
        is_last = not has_ended_journals(paths.find_home()) or time.monotonic() > deadline_s
        try:
            since = open_store().sessions(limit=None, since_us=began_us, search=CLIENT["name"], with_probes=True)
            oldest_first = reversed(list(since))
            found = {one.name: one for one in oldest_first if one.name in names and one.ended_at is not None}
        except NothingRecorded:
            found = {}
        if is_last or len(found) == len(names):
            return found
        time.sleep(LOOK_EVERY_S)


def explain(command: list[str], client: Client, reason: NoAnswer) -> KilometersError:
    """Return what to tell the user: km monitor's own words where it could not start the server."""
    said = client.last_lines[-1] if client.last_lines else ""
    if client.relay.returncode in CANNOT_START and said.startswith("km: "):
        return KilometersError(said.removeprefix("km: "))
    typed = console.printable(shell.join(command))
    return KilometersError(f'"{cut(typed)}" {reason}.{last_words(client)}\nTry it without km: {typed}')


def last_words(client: Client) -> str:
    """Return what the server wrote last that is no MCP message, a line each, each after a line break."""
    stdout = [f"stdout: {client.rubbish}"] if client.rubbish else []
    return "".join(f"\n  {line}" for line in [*stdout, *(f"stderr: {line}" for line in client.last_lines)])


@contextmanager
def saying_that_it_waits(program: str) -> Iterator[None]:
    """Tell a person at a terminal what is being waited for, should it take a while."""
    program = os.path.splitext(os.path.basename(program))[0]
    may_download = f" ({program} may be downloading)" if program in {"npx", "uvx"} else ""
    timer = threading.Timer(SAY_WAITING_AFTER_S, console.say, [f"waiting for the server{may_download}…"])
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def say(text: str) -> None:
    """Print a line at once: what is running meanwhile takes a moment."""
    console.write_line(text)
    sys.stdout.flush()


def say_doctor() -> None:
    """Say what comes after a first recording."""
    say("\nNext, the servers of your MCP clients (finds them, prints what to paste):")
    say_typed("doctor")


def say_heading(*arguments: str) -> None:
    """Print the command line whose output follows."""
    console.write_line("")
    write_bold(f"$ {shell.typed_km()} {shell.join(arguments)}")


def say_typed(*arguments: str) -> None:
    """Print a command line to copy."""
    write_bold(f"{shell.typed_km()} {shell.join(arguments)}")


def write_bold(text: str) -> None:
    """Print a line that stands out on a terminal, and is never broken."""
    if not console.is_drawn():
        console.write_line(console.printable(text))
        return
    from rich.text import Text

    from kilometers import drawing

    drawing.write([Text(console.printable(text), "bold")])


def cut(text: str) -> str:
    """Return *text*, if it is long only its beginning."""
    return text if len(text) <= LONGEST_COMMAND else f"{text[: LONGEST_COMMAND - 1]}…"
