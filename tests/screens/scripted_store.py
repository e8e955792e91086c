"""Stores written by hand: scripted sessions go through the recorder's own core into a store, with times that are given.

So a screen can be compared letter by letter, and a store of millions of events is made in a minute.
"""

from collections.abc import Iterable
from pathlib import Path

from kilometers.core import journal
from kilometers.core.session import Session, new_state
from kilometers.core.session_id import make_session_id
from kilometers.core.summary import summarize
from kilometers.paths import Home
from kilometers.store import Store

MILLISECOND_NS = 1_000_000
DAY_NS = 86_400_000_000_000

TimedStep = tuple[float, int, bytes]
"""When, in ms since the session's start; the stream; what was read."""


def open_home(folder: Path) -> Home:
    """Return a home in *folder*, made if need be."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return Home(str(folder), str(folder / "config.toml"))


class ScriptedStore:
    """A store that sessions are written to one after the other."""

    def __init__(self, folder: Path) -> None:
        self.home = open_home(folder)
        self.store = Store(self.home.store_file)
        self._numbers = 0

    def close(self) -> None:
        self.store.close()

    def add(
        self,
        steps: Iterable[TimedStep],
        *,
        begin_ns: int,
        name: str = "notes",
        command: Iterable[str] = ("npx", "-y", "@acme/notes"),
        end_after_ms: float | None = None,
        exit_status: int = 0,
        gap: tuple[int, int, float] | None = None,
    ) -> str:
        """Write one session and return its id; without *end_after_ms* it still runs.

        *gap* = (stream, bytes, ms): so many bytes are missing before the stream's first step after that time.
        """
        self._numbers += 1
        session_id = make_session_id(begin_ns, self._numbers.to_bytes(10, "big"))
        session = Session(new_state(session_id))
        fields = [("name", name), ("capture", "full"), ("host", "here"), ("user", "ada")]
        start = journal.pack_fields([*fields, *(("argv", word) for word in command)])
        records = [record(journal.START, start, begin_ns, 0, 0)]
        records += data_records(steps, begin_ns, gap)
        if end_after_ms is not None:
            end = journal.pack_fields([("exit_status", str(exit_status))])
            records.append(record(journal.END, end, begin_ns, end_after_ms, 0))
        with self.store.transaction():
            number = self.store.add_session(session.state, journal_id=session_id, continues=None, install_id="scripted")
            for one in records:
                while not session.take(one):
                    self.store.add_events(number, session.take_rows())
            if end_after_ms is not None:
                session.finish(begin_ns)
            state = session.sync_state()
            self.store.add_events(number, session.take_rows())
            self.store.save_calls(number, session.pairing.take_changes())
            self.store.save_session(number, state, summarize(state, is_ended=end_after_ms is not None))
        return session_id


def data_records(steps: Iterable[TimedStep], begin_ns: int, gap: tuple[int, int, float] | None) -> list[journal.Record]:
    """Return a record for each step, each where the one before on its stream ended."""
    offsets = dict.fromkeys(journal.STREAMS, 0)
    records = []
    for at_ms, stream, data in steps:
        if gap is not None and stream == gap[0] and at_ms >= gap[2]:
            offsets[stream] += gap[1]
            gap = None
        records.append(record(stream, data, begin_ns, at_ms, offsets[stream]))
        offsets[stream] += len(data)
    return records


def record(kind: int, data: bytes, begin_ns: int, at_ms: float, offset: int) -> journal.Record:
    """Return one record."""
    after_ns = int(at_ms * MILLISECOND_NS)
    reason = journal.REASONS.index("journal_full") if kind in journal.STREAMS else 0
    return journal.Record(kind, offset, after_ns, begin_ns + after_ns, reason, memoryview(data), 0)


def fill(folder: Path, *, sessions: int, calls: int, begin_ns: int) -> None:
    """Write *sessions* of *calls* each (two events a call), one an hour, of 12 servers with 8 tools each."""
    made = ScriptedStore(folder)
    for number in range(sessions):
        server = f"server-{number % 12}"
        steps = busy_steps(calls, client=f"client-{number % 3}", seed=number)
        made.add(
            steps,
            name=server,
            command=("npx", "-y", server),
            begin_ns=begin_ns + number * DAY_NS // 24,
            end_after_ms=calls * 100 + 1,
        )
    made.close()


def busy_steps(calls: int, *, client: str, seed: int) -> list[TimedStep]:
    """Return the steps of a session: an initialize, then tool calls whose times and outcomes vary."""
    info = f'{{"protocolVersion":"2025-11-25","clientInfo":{{"name":"{client}","version":"1.0"}}}}'
    steps: list[TimedStep] = [
        (0, journal.CLIENT_TO_SERVER, b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":%b}\n' % info.encode())
    ]
    for call in range(1, calls):
        mixed = (call * 2654435761 + seed * 40503) & 0xFFFFFFFF
        request = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"tool-%d","arguments":{}}}\n'
        error = b"true" if mixed % 50 == 0 else b"false"
        answer = b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"%d"}],"isError":%b}}\n'
        steps.append((call * 100, journal.CLIENT_TO_SERVER, request % (call, mixed % 8)))
        took_ms = 0.2 * 1.0007 ** (mixed % 8000)
        steps.append((call * 100 + took_ms, journal.SERVER_TO_CLIENT, answer % (call, mixed, error)))
    return steps
