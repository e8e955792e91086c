import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers.core.server_name import server_name

NAMES = [
    ("server-memory", "server-memory"),
    ("/usr/local/bin/Server-Memory", "server-memory"),
    (r"C:\Tools\Server.EXE", "server"),
    ("npx -y @modelcontextprotocol/server-everything", "server-everything"),
    ("npx -y @scope/server-x@1.2", "server-x"),
    ("npx --yes --package @scope/pack server-y stdio", "server-y"),
    ("npx -p @scope/pack -- server-y", "server-y"),
    (r"C:\nodejs\npx.cmd -y server-z@latest", "server-z"),
    ("npx -y github:someone/server-q", "server-q"),
    ("npm exec -y @scope/server-x", "server-x"),
    ("pnpm dlx server-x", "server-x"),
    ("yarn dlx server-x", "server-x"),
    ("bunx server-x", "server-x"),
    ("uvx mcp-server-time --local-timezone=UTC", "mcp-server-time"),
    ("uvx mcp-server-git==2.1", "mcp-server-git"),
    ("uvx mcp-server-git[extra]", "mcp-server-git"),
    ("uvx --from git+https://example.org/a/b.git mcp-time", "mcp-time"),
    ("uv tool run mcp-server-fetch", "mcp-server-fetch"),
    ("uv --directory /opt/weather run server.py", "weather"),
    ("uv run --with mcp mcp run weather.py", "mcp"),
    ("pipx run mcp-server-fetch", "mcp-server-fetch"),
    ("python -m mcp_server_time", "mcp_server_time"),
    ("python3.12 -m mcp_server.main", "mcp_server"),
    ("python -u -W ignore /opt/weather/server.py", "weather"),
    ("python weather.py --port 3", "weather"),
    ("py -3 weather.py", "weather"),
    ("node /opt/x/dist/index.js", "x"),
    ("node --import tsx src/weather.ts", "weather"),
    ("node /opt/Weather/build/index.mjs stdio", "weather"),
    ("deno run -A weather.ts", "weather"),
    ("docker run -i --rm mcp/fetch", "fetch"),
    ("docker run --rm -i -e TOKEN -v /a:/b ghcr.io:443/github/github-mcp-server:v1", "github-mcp-server"),
    ("podman run -i image@sha256:00", "image"),
    ("docker exec -i box server", "box"),
    ("docker ps", "docker"),
    ("env A=1 B=2 npx -y server-x", "server-x"),
    ("env -i server-x", "server-x"),
    ("nice -n 5 server-x", "server-x"),
    ("timeout 5m server-x", "server-x"),
    ("sudo -u somebody server-x", "server-x"),
    ("bash run-weather.sh", "run-weather"),
    ("npx", "npx"),
    ("python", "python"),
    ("node", "node"),
    ("sh", "sh"),
]
WORDS = [
    "",
    "-",
    "--",
    "-c",
    "-m",
    "-e",
    "=",
    "a=b",
    "npx",
    "uvx",
    "uv",
    "run",
    "python",
    "node",
    "sh",
    "docker",
    "env",
    "/",
    "@",
    "..",
    "x.py",
]


@pytest.mark.parametrize(("line", "name"), NAMES)
def test_server_is_named_after_what_its_launcher_runs(line: str, name: str) -> None:
    assert server_name(line.split()) == name


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("exec npx server-y", "server-y"),
        ("cd /opt && exec node /opt/weather/index.js", "weather"),
        ("A=1 server-z", "server-z"),
        ("", "sh"),
        ("sh -c sh -c sh -c sh -c sh -c sh", "sh"),
    ],
)
def test_shell_line_is_looked_into(line: str, name: str) -> None:
    assert server_name(["sh", "-c", line]) == name


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=8), min_size=1, max_size=6))
def test_every_command_has_a_lower_case_name(command: list[str]) -> None:
    name = server_name(command)

    assert name
    assert name == name.lower()
