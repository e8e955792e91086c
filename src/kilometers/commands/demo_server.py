"""The demo's MCP server: a few tools over stdio, with the standard library only."""

import json
import sys
import time
from typing import Any

PROTOCOL_VERSION = "2025-11-25"


def main() -> None:
    """Answer until stdin ends."""
    sys.stderr.write("demo server ready\n")
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request:
            write({"jsonrpc": "2.0", "id": request["id"], **answer(request["method"], request.get("params", {}))})


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the result or error of a request."""
    if method == "initialize":
        server = {"name": "km-demo-server", "version": "1.0.0"}
        return {"result": {"protocolVersion": PROTOCOL_VERSION, "capabilities": {"tools": {}}, "serverInfo": server}}
    if method == "tools/list":
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("add", "slow", "fail")]
        return {"result": {"tools": tools}}
    if method == "tools/call":
        return {"result": call(params["name"], params["arguments"], params.get("_meta", {}))}
    return {"error": {"code": -32002, "message": f"not found: {params.get('uri', method)}"}}


def call(tool: str, arguments: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    """Run a tool and return its result."""
    if tool == "add":
        return text(str(arguments["a"] + arguments["b"]))
    if tool == "slow":
        for step in (1, 2):
            time.sleep(arguments["seconds"] / 2)
            progress = {"progressToken": meta.get("progressToken"), "progress": step, "total": 2}
            write({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
        return text("done")
    return {**text("this tool always fails"), "isError": True}


def text(value: str) -> dict[str, Any]:
    """Return a tool result with one text."""
    return {"content": [{"type": "text", "text": value}]}


def write(message: dict[str, Any]) -> None:
    """Send one frame."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
