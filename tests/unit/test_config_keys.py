import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers.commands.config import find_values
from kilometers.config_editor import drop, edited, put
from kilometers.core import config_keys, settings
from kilometers.core.config_keys import Entry, find_entries, read_key, read_value, write_key
from kilometers.errors import KilometersError

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def entries(config: dict[str, object], **environment: str) -> dict[str, Entry]:
    return {entry.key: entry for entry in find_entries(config, environment)}


@given(NAMES)
def test_key_of_any_server_is_read_as_it_is_written(server: str) -> None:
    key = ("servers", server, "capture")

    assert read_key(write_key(key)) == key
    assert tomllib.loads(f"{write_key(key)} = 1") == {"servers": {server: {"capture": 1}}}


@pytest.mark.parametrize(
    ("typed", "server"),
    [
        ("servers.my-server.capture", "my-server"),
        ("servers.my.server.capture", "my.server"),
        ('servers."my.server".capture', "my.server"),
        ("servers.'my server'.capture", "my server"),
        ("servers.my server.capture", "my server"),
        ('servers."half.capture', '"half'),
    ],
)
def test_name_may_be_typed_without_its_quotes(typed: str, server: str) -> None:
    assert read_key(typed) == ("servers", server, "capture")


@pytest.mark.parametrize(
    "typed", ["", "captur", "servers", "servers.x", "servers..capture", "servers.x.retention_days", "capture.x", "a\nb"]
)
def test_unknown_key_is_none(typed: str) -> None:
    assert read_key(typed) is None


def test_every_setting_is_listed_with_its_default() -> None:
    found = entries({})

    assert list(found) == list(settings.SETTINGS)
    assert {entry.source for entry in found.values()} == {"default"}
    assert all(entry.value == entry.default for entry in found.values())


def test_environment_says_only_what_the_relay_asks_it() -> None:
    found = entries({}, KILOMETERS_CAPTURE="off", KILOMETERS_RETENTION_DAYS="1")

    assert (found["capture"].value, found["capture"].source) == ("off", "environment")
    assert (found["retention_days"].value, found["retention_days"].source) == ("30", "default")


def test_default_of_a_server_is_the_general_setting() -> None:
    found = entries({"capture": "metadata", "servers": {"a.b": {"capture": "off"}}})

    assert found['servers."a.b".capture'].value == "off"
    assert found['servers."a.b".capture'].default == "metadata"


@pytest.mark.parametrize(
    ("config", "key", "problem"),
    [
        ({"capture": "ful"}, "capture", 'it may be full, metadata, off; metadata applies. Did you mean "full"?'),
        ({"retention_days": -1}, "retention_days", "it must be a whole number; 30 applies."),
        ({"captur": "off"}, "captur", 'there is no such setting. Did you mean "capture"?'),
        ({"servers": {"x": {"captrue": "off"}}}, "servers.x.captrue", 'Did you mean "capture"?'),
        ({"servers": {"x": {"retention_mb": 1}}}, "servers.x.retention_mb", "only capture can be set for one server."),
        ({"servers": {"a": {"b": {"capture": "off"}}}}, "servers.a.b", 'needs quotes: [servers."a.b"]'),
        ({"my-server": {"capture": "off"}}, "my-server", "belong into [servers.my-server]"),
        ({"servers": 3}, "servers", "it must be a table"),
        ({"servers": {"x": []}}, "servers.x", "it must be a table"),
    ],
)
def test_what_is_wrong_is_said_beside_the_key(config: dict[str, object], key: str, problem: str) -> None:
    assert problem in entries(config)[key].problem


@pytest.mark.parametrize(("name", "text", "value"), [("capture", "off", "off"), ("retention_days", "007", 7)])
def test_value_is_read_as_the_file_should_have_it(name: str, text: str, value: object) -> None:
    assert read_value(name, text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [("capture", "Full"), ("retention_mb", "1.5"), ("retention_mb", "²"), ("retention_days", "9" * 19)],
)
def test_value_that_makes_no_sense_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match="it m"):
        read_value(name, text)


@pytest.mark.parametrize(
    ("key", "typed", "values"),
    [
        ("capture", "", ["full", "metadata", "off"]),
        ("servers.my.server.capture", "m", ["metadata"]),
        ("retention_days", "", []),
        ("captur", "", []),
    ],
)
def test_values_that_can_be_typed_are_known(key: str, typed: str, values: list[str]) -> None:
    assert find_values(key, typed) == values


FILES = [
    "",
    "# only a comment",
    "capture = 'full' # why\r\n",
    "servers = {}\n",
    "servers = {y = {capture = 'off'}}\n",
    "servers.y.capture = 'off'\n",
    "[servers]\n",
    "[servers.y]\n# kept\n[other]\nk = 1\n[servers.z]\ncapture = 'off'\n# the end\n",
    '[servers."x.y"]\ncapture = "full" # why\n\n\n',
]


@pytest.mark.parametrize("text", FILES)
@given(server=NAMES)
def test_server_is_set_and_all_else_stays(text: str, server: str) -> None:
    key = ("servers", server, "capture")
    before = tomllib.loads(text)

    after = tomllib.loads(edited(text, key, lambda table: put(table, key, "metadata")))

    assert after["servers"].pop(server)["capture"] == "metadata"
    before.get("servers", {}).pop(server, None)
    assert without_servers(after) == without_servers(before)


def without_servers(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config as it reads: that `servers` is there, with nothing in it, means nothing."""
    return {name: value for name, value in config.items() if value != {}}


@pytest.mark.parametrize("text", [text for text in FILES if "#" in text])
def test_comments_and_order_stay(text: str) -> None:
    lines = [line for line in text.splitlines() if "#" in line]
    changed = edited(text, ("retention_days",), lambda table: put(table, ("retention_days",), 7))

    assert [line for line in changed.splitlines() if "#" in line] == lines


def test_value_is_replaced_where_it_stands() -> None:
    text = "# head\ncapture = 'full' # why\nretention_days = 7\n"

    assert edited(text, ("capture",), lambda table: put(table, ("capture",), "off")) == text.replace("'full'", '"off"')


def test_general_setting_goes_before_the_tables() -> None:
    text = "[servers.x]\ncapture = 'off'\n"
    changed = edited(text, ("capture",), lambda table: put(table, ("capture",), "full"))

    assert tomllib.loads(changed) == {"capture": "full", "servers": {"x": {"capture": "off"}}}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a = 1 # one\nb = 2 # two\n", ("a",)),
        ("[servers.x]\ncapture = 'off'\n[servers.y]\ncapture = 'off'\n", ("servers", "x", "capture")),
        ("servers.x.capture = 'off'\nservers.y.capture = 'off'\n", ("servers", "x", "capture")),
        ("[servers.x.y]\ncapture = 'off'\n", ("servers", "x", "y")),
        ("servers = {x = {capture = 'off', b = 1}}\n", ("servers", "x", "capture")),
    ],
)
def test_value_is_taken_out_and_all_else_stays(text: str, key: config_keys.Key) -> None:
    expected = tomllib.loads(text)
    drop(expected, key)

    changed = tomllib.loads(edited(text, key, lambda table: drop(table, key)))

    assert entries(changed) == entries(expected)
    assert key not in config_keys.find_unknown_keys(changed)


@pytest.mark.parametrize("text", ["servers = 3\n", "[[servers]]\n", "servers.x = 'off'\n", "[servers]\nx = []\n"])
def test_what_stands_in_a_tables_place_is_left_alone(text: str) -> None:
    key = ("servers", "x", "capture")

    with pytest.raises(KilometersError, match="something else in its place"):
        edited(text, key, lambda table: put(table, key, "off"))
