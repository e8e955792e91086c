"""An outline of JSON: any value can be outlined, unfolded nothing is lost, and folding is quick."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilometers.core.outline import BAR, UNFOLDED, Limits, outline
from kilometers.drawing import draw_json

PATIENCE_S = 5.0  # of a busy machine; it takes a hundredth of that

texts = st.text(st.characters(exclude_categories=[]), max_size=40)  # surrogates too
plain_values = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    plain_values,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5) | st.builds(json.dumps, inner)
    ),
    max_leaves=30,
)
limits = st.builds(
    Limits,
    characters=st.integers(0, 50),
    lines=st.integers(0, 20),
    items=st.integers(0, 20),
    depth=st.integers(0, 100),
)


def text_of(json_text: str, limits: Limits = UNFOLDED) -> list[str]:
    return ["".join(text for _, text in line) for line in outline(json_text, limits)]


def outlined(value: Any, limits: Limits = UNFOLDED) -> list[str]:
    return text_of(json.dumps(value), limits)


def scalars(value: Any) -> list[str]:
    """Return each key and plain value as JSON writes it."""
    if isinstance(value, list):
        return [text for item in value for text in scalars(item)]
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in (json.dumps(key, ensure_ascii=False), *scalars(item))]
    return [json.dumps(value, ensure_ascii=False)]


@given(values, limits)
def test_anything_can_be_outlined_within_any_limits(value: Any, limits: Limits) -> None:
    assert outlined(value, limits)


@given(values)
def test_anything_can_be_drawn(value: Any) -> None:
    drawn = [line.plain for line in draw_json(json.dumps(value).encode(), Limits())[0]]

    assert drawn
    assert all(line.isprintable() for line in drawn)


# Strings of several lines, and JSON in strings, are shown as what they hold.
one_line = st.text(st.characters(exclude_characters="\n{["), max_size=40)
unfolded_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | one_line,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(one_line, inner, max_size=5),
    max_leaves=30,
)


@given(unfolded_values)
def test_unfolded_every_key_and_value_is_there(value: Any) -> None:
    shown = "\n".join(outlined(value))

    assert [text for text in scalars(value) if text not in shown] == []


@given(unfolded_values)
def test_unfolded_without_blocks_it_is_the_same_json(value: Any) -> None:
    shown = "\n".join(outlined(value))

    assert repr(json.loads(shown)) == repr(json.loads(json.dumps(value)))


@pytest.mark.parametrize("number", ["1.10", "1e400", "12345678901234567890", "-0", "NaN", "1E+2", "9" * 5000])
def test_number_is_shown_as_it_was_written(number: str) -> None:
    assert text_of(f'{{"n": {number}}}') == ["{", f'  "n": {number}', "}"]


def test_key_that_comes_twice_is_shown_twice() -> None:
    assert text_of('{"a": 1, "a": 2}') == ["{", '  "a": 1,', '  "a": 2', "}"]


def test_short_list_of_plain_values_is_one_line() -> None:
    assert outlined([1, "two", None, True]) == ['[1, "two", null, true]']
    assert len(outlined(["a long word of a list"] * 4)) == 6


@pytest.mark.parametrize(("value", "shown"), [({}, "{}"), ([], "[]"), ([[]], "[\n  []\n]"), ("", '""'), (None, "null")])
def test_empty_value_is_shown_as(value: Any, shown: str) -> None:
    assert "\n".join(outlined(value)) == shown


def test_text_of_several_lines_stands_behind_a_bar() -> None:
    shown = [f"    {BAR}one", f"    {BAR}  two", f"    {BAR}"]

    assert outlined({"text": "one\n  two\n"}) == ["{", '  "text": 3 lines', *shown, "}"]


def test_json_in_a_string_in_json_is_outlined() -> None:
    inner = json.dumps({"deep": [1, {"x": "a string of its own"}]})
    shown = outlined({"text": json.dumps({"inner": inner})})

    assert [line.replace(BAR, "").strip() for line in shown] == [
        "{",
        '"text": JSON in a string',
        "{",
        '"inner": JSON in a string',
        "{",
        '"deep": [',
        "1,",
        "{",
        '"x": "a string of its own"',
        "}",
        "]",
        "}",
        "}",
        "}",
    ]


@pytest.mark.parametrize(
    "text", ['{"not": json, and quite long}', "[a markdown link](https://example.org)", "{{ a template }} of words"]
)
def test_string_that_only_looks_like_json_stays_a_string(text: str) -> None:
    assert outlined(text) == [json.dumps(text)]


def test_folded_says_how_much_is_left_out() -> None:
    value = {
        "string": "x" * 1_234,
        "items": [[number] for number in range(5)],
        "lines": "1\n2\n3\n4",
        "deep": {"a": {"b": 1}},
    }

    assert outlined(value, Limits(characters=3, lines=2, items=4, depth=2)) == [
        "{",
        '  "string": "xxx" … 1,231 more characters,',
        '  "items": [',
        "    [0],",
        "    [1],",
        "    [2],",
        "    [3],",
        "    … 1 more item",
        "  ],",
        '  "lines": 4 lines,',
        f"    {BAR}1",
        f"    {BAR}2",
        f"    {BAR}… 2 more lines",
        '  "deep": {',
        '    "a": {… 1 member}',
        "  }",
        "}",
    ]


def test_very_deep_json_is_drawn_as_it_stands_or_folded() -> None:
    text = '{"a":' * 2_000 + "1" + "}" * 2_000

    drawn = "".join(line.plain for line in draw_json(text.encode(), UNFOLDED)[0])

    assert drawn == text or drawn.count("{") == 101


def test_deep_json_in_a_string_leaves_the_rest_readable() -> None:
    nested = "[" * 2_000 + "]" * 2_000

    assert outlined({"before": 1, "nested": nested, "after": 2})[-2:] == ['  "after": 2', "}"]


@pytest.mark.parametrize("levels", [3, 14])
def test_json_in_strings_in_strings_does_not_grow_out_of_hand(levels: int) -> None:
    text = '{"a": "quite a long string of words"}'
    for _ in range(levels):
        text = json.dumps({"inner": text})

    assert len(text_of(text)) < 50 * levels
    assert len(text_of(text, Limits())) < 50


@pytest.mark.parametrize(
    "value",
    [
        {"text": "x" * 1_000_000},
        {"text": "a line of text\n" * 66_000},
        {"text": json.dumps([{"id": number, "name": "x" * 20} for number in range(20_000)])},
        {"numbers": list(range(150_000))},
        {"text": "[" * 1_000_000},
        {"text": '"\\' * 250_000},
        {str(number): number for number in range(60_000)},
    ],
    ids=["string", "lines", "nested", "list", "brackets", "quotes", "members"],
)
def test_a_megabyte_is_folded_at_once(value: Any) -> None:
    payload = json.dumps(value).encode()
    begin_s = time.process_time()

    drawn, _ = draw_json(payload, Limits())

    assert len(drawn) < 50
    assert time.process_time() - begin_s < PATIENCE_S


def test_lone_surrogate_is_no_reason_to_fail() -> None:
    assert [line.plain for line in draw_json(rb'{"a": "\ud800", "\udfff": 1}', Limits())[0]] == [
        "{",
        '  "a": "·",',
        '  "·": 1',
        "}",
    ]


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff\xfe", b'{"a": "\x1b[2J"}', b'"\xc2\x9b31m"'])
def test_what_python_cannot_read_is_drawn_as_it_stands_and_printable(payload: bytes) -> None:
    drawn = [line.plain for line in draw_json(payload, Limits())[0]]

    assert all(line.isprintable() for line in drawn)
