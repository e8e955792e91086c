"""The fast path's parser and Click, which prints its usage errors, must mean the same by every command line."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers import cli
from kilometers.core.monitor_options import CAPTURE_MODES, OPTIONS, MonitorOptions, parse

FLAGS = [flag for option in OPTIONS for flag in option.flags]
WORDS = [
    *FLAGS,
    *(f"{flag}={value}" for flag in FLAGS for value in ("", "x", "off", "a=b")),
    *CAPTURE_MODES,
    *(
        "-vv",
        "-vvv",
        "-vx",
        "-xv",
        "-v-",
        "-v=",
        "-vname",
        "-name",
        "--nam",
        "--verbos",
        "--capture=Full",
        "--capture=bad",
    ),
    *("", "-", "--", "---", "-=", "--=", "-h", "--help", "-vh", "cat", "node", "x y", "é", "\udcff"),
]
command_lines = st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=7)
Meaning = tuple[str | None, str | None, bool, bool, list[str]]


def meaning_of(options: MonitorOptions | None) -> Meaning | None:
    if options is None:
        return None
    return (options.name, options.capture, options.no_stderr, options.verbose, options.command)


def parsed_by_click(arguments: list[str]) -> Meaning | None:
    command = cli.monitor_command()
    try:
        values = command.make_context("monitor", list(arguments)).params
    except (click.UsageError, click.exceptions.Exit):
        return None
    return (values["name"], values["capture"], values["no_stderr"], values["verbose"], list(values["command"]))


@given(command_lines)
def test_parser_and_click_accept_the_same_with_the_same_meaning(arguments: list[str]) -> None:
    assert meaning_of(parse(arguments)) == parsed_by_click(arguments)


@pytest.mark.parametrize("word", WORDS)
def test_parser_and_click_agree_on_every_word(word: str) -> None:
    for arguments in ([word], [word, "cat"], [word, "off", "cat"]):
        assert meaning_of(parse(arguments)) == parsed_by_click(arguments)


def test_what_follows_the_command_is_the_servers() -> None:
    options = parse(["-v", "node", "--name", "x", "--", "-v"])

    assert options is not None
    assert options.command == ["node", "--name", "x", "--", "-v"]
    assert options.name is None


@pytest.mark.parametrize("arguments", [[], ["--"], ["-h"], ["--help", "cat"], ["--name"], ["--what", "cat"]])
def test_what_cannot_be_run_is_left_to_click(arguments: list[str]) -> None:
    assert parse(arguments) is None


def test_last_of_several_values_counts() -> None:
    options = parse(["--capture", "nonsense", "--capture=off", "--name", "a", "--name=b", "cat"])

    assert options is not None
    assert (options.capture, options.name) == ("off", "b")
