"""What the configuration files of MCP clients say, and the entry that is put into them."""

import json
import time
import tomllib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers.core.client_config import (
    Form,
    Server,
    Transport,
    UnreadableConfig,
    entry,
    is_wrapped,
    km_program,
    read_servers,
    remark,
    without_comments,
    wrap,
)

NPX = {"command": "npx", "args": ["-y", "server-x"]}
KM = ["/opt/km/bin/km"]
FORMS = st.sampled_from(Form)


def read(text: str, form: Form = Form.MCP_SERVERS) -> list[Server]:
    return read_servers(text.encode(), form)


def server(*command: str, name: str = "x", other_keys: tuple[str, ...] = ()) -> Server:
    return Server(name=name, project="", transport=Transport.STDIO, command=list(command), other_keys=list(other_keys))


@pytest.mark.parametrize(
    ("form", "text", "project"),
    [
        (Form.MCP_SERVERS, json.dumps({"theme": "dark", "mcpServers": {"x": NPX}}), ""),
        (Form.CLAUDE_CODE, json.dumps({"mcpServers": {"x": NPX}}), ""),
        (Form.CLAUDE_CODE, json.dumps({"projects": {"/src/app": {"mcpServers": {"x": NPX}}}}), "/src/app"),
        (Form.VS_CODE, json.dumps({"servers": {"x": NPX}, "inputs": []}), ""),
        (Form.VS_CODE_SETTINGS, json.dumps({"editor.tabSize": 2, "mcp": {"servers": {"x": NPX}}}), ""),
        (Form.CODEX, '[mcp_servers.x]\ncommand = "npx"\nargs = ["-y", "server-x"]', ""),
    ],
)
def test_server_is_found_in_every_form(form: Form, text: str, project: str) -> None:
    (found,) = read(text, form)

    assert (found.name, found.project, found.transport) == ("x", project, Transport.STDIO)
    assert found.command == ["npx", "-y", "server-x"]


def test_servers_come_in_the_order_of_the_file() -> None:
    text = json.dumps({"projects": {"/a": {"mcpServers": {"p": NPX}}}, "mcpServers": {"b": NPX, "a": NPX}})

    assert [found.name for found in read(text, Form.CLAUDE_CODE)] == ["b", "a", "p"]


@pytest.mark.parametrize(
    "text",
    [
        '{"mcpServers": {"x": {"command": "npx",},},}',
        '// mine\n{"mcpServers": /* all\nof them */ {"x": {"command": "npx"} // the end\n}}',
        '\ufeff{"mcpServers": {"x": {"command": "npx"}}}',
        '{\r\n  "mcpServers": { // x\r\n    "x": {"command": "npx",\r\n    },\r\n  }\r\n}\r\n',
        '{"mcpServers": {"x": {"command": "npx", /* , } */ }}}',
    ],
)
def test_comments_trailing_commas_line_ends_and_a_bom_are_read(text: str) -> None:
    assert [found.command for found in read(text)] == [["npx"]]


@pytest.mark.parametrize("word", ["https://x.example/*y*/", 'say "//" and \\', ",}", ", ]", "/*", "a\\"])
def test_what_looks_like_a_comment_in_a_string_is_kept(word: str) -> None:
    text = "// lenient\n" + json.dumps({"mcpServers": {"x": {"command": "npx", "args": [word]}}})

    assert read(text)[0].command == ["npx", word]


@pytest.mark.parametrize("text", ["", " \n", "{}", "[]", "null", "3", '{"mcpServers": null}', '{"mcpServers": [1]}'])
def test_file_without_servers_has_none(text: str) -> None:
    assert read(text) == []


@pytest.mark.parametrize(
    ("text", "form", "line"),
    [
        ('{\n  "mcpServers": {\n    "x": nope\n  }\n}', Form.MCP_SERVERS, 3),
        ('{\n  // two\n  "mcpServers": {,\n', Form.MCP_SERVERS, 3),
        ('{\r\n"mcpServers": /* never\r\nended', Form.MCP_SERVERS, 3),
        ('model = "x"\n[mcp_servers.x\n', Form.CODEX, 2),
    ],
)
def test_error_names_its_line(text: str, form: Form, line: int) -> None:
    with pytest.raises(UnreadableConfig, match=f"at line {line}"):
        read(text, form)


def test_bytes_that_are_no_text_are_named_with_their_line() -> None:
    with pytest.raises(UnreadableConfig, match="not UTF-8 \\(at line 2\\)"):
        read_servers(b'{\n"a": "\xff"}', Form.MCP_SERVERS)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("[" * 200_000, Form.MCP_SERVERS),
        ('{"mcpServers":' * 200_000, Form.MCP_SERVERS),
        ("a = " + "[" * 100_000, Form.CODEX),
        ('{"n": ' + "9" * 5000 + "}", Form.MCP_SERVERS),
        ("n = " + "9" * 5000, Form.CODEX),
    ],
)
def test_hostile_file_is_unreadable_and_nothing_else(text: str, form: Form) -> None:
    with pytest.raises(UnreadableConfig):
        read(text, form)


@pytest.mark.parametrize("piece", ['"\\', '\\"', "/*", "//", ", ", '"', "/* */", '"a",'])
def test_comments_are_taken_out_in_linear_time(piece: str) -> None:
    begun_s = time.monotonic()

    without_comments(piece * 500_000)

    assert time.monotonic() - begun_s < 10  # what is quadratic takes hours


@given(st.text(st.sampled_from('/*",\\n{}[] \n'), max_size=60))
def test_only_comments_and_commas_are_blanked(text: str) -> None:
    shown = without_comments(text)

    assert len(shown) == len(text)
    assert [place for place, mark in enumerate(shown) if mark == "\n"] == [
        place for place, mark in enumerate(text) if mark == "\n"
    ]


@pytest.mark.parametrize(
    ("table", "transport"),
    [
        ({"url": "https://x.example/mcp"}, Transport.REMOTE),
        ({"httpUrl": "https://x.example/mcp"}, Transport.REMOTE),
        ({"type": "http", "url": "https://x.example/mcp", "command": "x"}, Transport.REMOTE),
        ({"command": "x"}, Transport.STDIO),
        ({"type": "stdio", "command": "x", "args": None}, Transport.STDIO),
        ({"command": "x", "url": "https://x.example/mcp"}, Transport.STDIO),
        ({"command": ""}, Transport.UNKNOWN),
        ({"command": ["x"]}, Transport.UNKNOWN),
        ({"command": "x", "args": "-y"}, Transport.UNKNOWN),
        ({"command": "x", "args": ["-p", 80]}, Transport.UNKNOWN),
        ({}, Transport.UNKNOWN),
        (7, Transport.UNKNOWN),
    ],
)
def test_transport_is_what_the_entry_says(table: object, transport: Transport) -> None:
    (found,) = read(json.dumps({"mcpServers": {"x": table}}))

    assert found.transport is transport
    assert bool(found.command) == (transport is Transport.STDIO)


@pytest.mark.parametrize(
    "command",
    [
        ["km", "monitor", "--", "npx", "x"],
        ["/usr/local/bin/km", "monitor", "npx"],
        ["C:\\Program Files\\km\\KM.EXE", "monitor", "--", "npx"],
        ["/usr/bin/python3", "-E", "-P", "-m", "kilometers", "monitor", "--", "x"],
        ["uvx", "--from", "kilometers", "km", "monitor", "--", "x"],
        ["sh", "-c", "exec '/opt/my km/km' monitor -- npx x"],
        ["cmd", "/c", "km", "monitor", "--", "npx", "x"],
    ],
)
def test_wrapped_server_is_recognised(command: list[str]) -> None:
    assert is_wrapped(command)


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["npx", "x"],
        ["km"],
        ["km", "demo"],
        ["monitor", "--", "npx"],
        ["/opt/skm", "monitor"],
        ["python", "-m", "kilometers_api", "monitor"],
        ["x", "monitor", "km"],
    ],
)
def test_other_server_is_not_wrapped(command: list[str]) -> None:
    assert not is_wrapped(command)


@pytest.mark.parametrize(
    ("command", "program"),
    [
        (["/a/km", "monitor", "--", "x"], "/a/km"),
        (["/a/python", "-P", "-m", "kilometers", "monitor", "--", "x"], "/a/python"),
        (["uvx", "km", "monitor", "--", "x"], None),
        (["sh", "-c", "km monitor -- x"], None),
        (["npx", "x"], None),
    ],
)
def test_program_that_must_be_there_is_the_one_that_the_client_starts_as_km(
    command: list[str], program: str | None
) -> None:
    assert km_program(command) == program


@pytest.mark.parametrize(
    ("command", "wrapped"),
    [
        (["npx", "-y", "x"], [*KM, "monitor", "--", "npx", "-y", "x"]),
        (["km", "monitor", "--name", "n", "--", "x"], [*KM, "monitor", "--name", "n", "--", "x"]),
        (["/gone/python", "-m", "kilometers", "monitor", "--", "x"], [*KM, "monitor", "--", "x"]),
    ],
)
def test_km_is_put_around_a_server_once(command: list[str], wrapped: list[str]) -> None:
    assert wrap(command, KM, name="x") == wrapped


@pytest.mark.parametrize(
    ("name", "named"),
    [("notes", ["--name", "notes"]), ("server", []), ("--all", []), ("", []), ("naïve\n", [])],
)
def test_km_is_told_the_clients_name_where_it_would_find_another_one(name: str, named: list[str]) -> None:
    assert wrap(["npx", "-y", "@acme/server"], KM, name=name) == [
        *KM, "monitor", *named, "--", "npx", "-y", "@acme/server",
    ]  # fmt: skip


def test_entry_of_json_reads_well() -> None:
    text = entry(server("npx", "-y", "@scope/server-of-a-rather-long-name", "/home/me/My Documents"), KM, Form.VS_CODE)

    assert text == (
        '"x": {\n'
        '  "command": "/opt/km/bin/km",\n'
        '  "args": [\n'
        '    "monitor", "--name", "x", "--", "npx", "-y",\n'
        '    "@scope/server-of-a-rather-long-name",\n'
        '    "/home/me/My Documents"\n'
        "  ]\n"
        "}"
    )


def test_entry_of_toml_reads_well() -> None:
    text = entry(server("C:\\x.exe", name="my server"), ["C:\\km\\km.exe"], Form.CODEX)

    assert text == (
        '[mcp_servers."my server"]\ncommand = "C:\\\\km\\\\km.exe"\n'
        'args = ["monitor", "--name", "my server", "--", "C:\\\\x.exe"]'
    )


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.lists(WORDS, max_size=8), WORDS)
def test_entry_says_the_same_to_the_client(words: list[str], name: str) -> None:
    wanted = server("npx", *words, name=name)
    command = wrap(["npx", *words], KM, name=name)

    as_json = json.loads(f"{{{entry(wanted, KM, Form.MCP_SERVERS)}}}")[name]
    as_toml = tomllib.loads(entry(wanted, KM, Form.CODEX))["mcp_servers"][name]

    for table in (as_json, as_toml):
        assert [table["command"], *table["args"]] == command


@given(st.lists(WORDS, max_size=8), WORDS)
def test_entry_can_be_printed_on_any_terminal(words: list[str], name: str) -> None:
    for form in (Form.MCP_SERVERS, Form.CODEX):
        assert entry(server("npx", *words, name=name), KM, form).replace("\n", "").isprintable()


def test_values_of_env_and_urls_are_shown_nowhere() -> None:
    text = json.dumps(
        {"mcpServers": {"x": {**NPX, "env": {"TOKEN": "hidden"}, "headers": {"a": "hidden"}, "cwd": "/"}}}
    )
    (found,) = read(text)

    assert remark(found) == "keep its env, headers, cwd"
    assert "hidden" not in repr(found) + entry(found, KM, Form.MCP_SERVERS) + remark(found)


def test_entry_with_nothing_else_in_it_needs_no_remark() -> None:
    assert remark(server("npx")) == ""


@given(st.binary(max_size=200), FORMS)
def test_any_bytes_are_read_or_unreadable(data: bytes, form: Form) -> None:
    with suppress(UnreadableConfig):
        assert isinstance(read_servers(data, form), list)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["mcpServers", "servers", "mcp", "projects", "command", "args", "url", "type", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(VALUES, FORMS.filter(lambda form: form is not Form.CODEX), st.integers(0, 400))
def test_any_json_whole_or_cut_is_read_or_unreadable(value: object, form: Form, cut: int) -> None:
    text = json.dumps(value)

    for found in read(text, form):
        assert isinstance(entry(found, KM, form) if found.command else remark(found), str)
    with suppress(UnreadableConfig):
        assert isinstance(read(text[:cut], form), list)
