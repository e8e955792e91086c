"""The store of the golden screens: one session that shows everything, a probe, one that failed, one that runs."""

import json
from pathlib import Path
from typing import Any

from kilometers.core import journal
from screens.scripted_store import ScriptedStore, TimedStep

BEGIN_NS = 1_600_000_000_000_000_000  # so long ago that no screen depends on today
HOUR_NS = 3_600_000_000_000
CLIENT, SERVER, STDERR = journal.CLIENT_TO_SERVER, journal.SERVER_TO_CLIENT, journal.STDERR
ANSWER = '# Monday\n- 09:00 stand-up\n- 日本語のノート, naïve café 🚀\n- "quoted"\ttab'
REPORT = {"report": {"rows": [{"id": n, "note": f"line {n}"} for n in range(30)], "total": 12345678901234567890}}


def message(at_ms: float, stream: int, **members: Any) -> TimedStep:
    return at_ms, stream, json.dumps({"jsonrpc": "2.0", **members}, ensure_ascii=False).encode() + b"\n"


def call(at_ms: float, id: int, tool: str, **params: Any) -> TimedStep:
    return message(at_ms, CLIENT, id=id, method="tools/call", params={"name": tool, **params})


def told(at_ms: float, method: str, stream: int = SERVER, **params: Any) -> TimedStep:
    return message(at_ms, stream, method=f"notifications/{method}", params=params)


def text_result(at_ms: float, id: int, text: str, *, is_error: bool = False) -> TimedStep:
    result = {"content": [{"type": "text", "text": text}], "isError": is_error}
    return message(at_ms, SERVER, id=id, result=result)


def handshake(client: str, server: str) -> list[TimedStep]:
    asked = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": client, "version": "2.1.0"}}
    answered = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": server, "version": "1.4.0"}}
    return [
        (0.3, STDERR, b"notes-server 1.4.0 listening on stdio\n"),
        message(1.2, CLIENT, id=0, method="initialize", params=asked),
        message(14.9, SERVER, id=0, result=answered),
        told(15.6, "initialized", CLIENT),
    ]


EVERYTHING: list[TimedStep] = [
    *handshake("example-ide", "notes-server"),
    message(20, CLIENT, id=1, method="tools/list"),
    message(22.5, SERVER, id=1, result={"tools": []}),
    call(
        30,
        2,
        "search_notes",
        arguments={"query": "stand-up", "tags": ["work"], "limit": 20},
        _meta={"progressToken": 2},
    ),
    call(31, 3, "read_note", arguments={"path": "日本語/メモ/とても長い名前のノート.md"}),
    told(120, "progress", progressToken=2, progress=1, total=3),
    text_result(140, 3, ANSWER),
    told(220, "progress", progressToken=2, progress=2, total=3),
    told(320, "progress", progressToken=2, progress=3, total=3),
    text_result(345, 2, json.dumps(REPORT)),
    message(360, SERVER, id=0, method="sampling/createMessage", params={"messages": [], "maxTokens": 100}),
    message(
        910, CLIENT, id=0, result={"role": "assistant", "content": {"type": "text", "text": "Summary."}, "model": "m"}
    ),
    call(930, 4, "export_notes", arguments={"format": "pdf"}),
    (931, STDERR, b"Traceback (most recent call last):\n"),
    text_result(960, 4, "export failed: no PDF engine", is_error=True),
    message(970, CLIENT, id=5, method="resources/read", params={"uri": "notes://missing"}),
    message(971, SERVER, id=5, error={"code": -32002, "message": "not found"}),
    told(45_000, "message", level="warning", data="index is stale"),
    call(45_100, 6, "reindex", arguments={}),
    told(46_300, "cancelled", CLIENT, requestId=6, reason="user pressed stop"),
    (46_320, SERVER, b"Listening... (banner on stdout)\n"),
    call(46_400, 7, "read_note", arguments={"path": "after the gap"}),
    text_result(46_410, 7, "x" * 2000),
    call(46_500, 8, "read_note", arguments={"path": "never answered"}),
]


def make_example(folder: Path) -> None:
    """Write the store into *folder*."""
    made = ScriptedStore(folder)
    probe = [message(1, CLIENT, id="server-discover-probe-1", method="server/discover")]
    made.add(probe, begin_ns=BEGIN_NS - HOUR_NS, name="notes", end_after_ms=3, exit_status=143)
    failed = [(2.0, STDERR, b"error: no such database: /srv/db.sqlite\n")]
    made.add(
        failed,
        begin_ns=BEGIN_NS - HOUR_NS // 2,
        name="a-server-with-quite-a-long-name-and-データベース",
        command=("python", "-m", "database_server", "--path", "/srv/db.sqlite"),
        end_after_ms=40,
        exit_status=1,
    )
    made.add(EVERYTHING, begin_ns=BEGIN_NS, end_after_ms=47_000, gap=(SERVER, 1_234_567, 46_405))
    running = [*handshake("example-ide", "time-server"), call(3_000, 1, "get_time", arguments={})]
    made.add(running, begin_ns=BEGIN_NS + HOUR_NS, name="time", command=("uvx", "mcp-server-time"))
    made.close()
