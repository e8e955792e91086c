"""An outline of JSON for a person: a line for each member, what is long folded.

Strings of several lines (what tools answer, mostly) become the lines they are, and JSON inside a string is outlined
too, both behind a bar.  Numbers stay as they were written, and keys that come twice are both there.

Pure.  Counterpart: drawing.py, which draws it.
"""

import json
from collections.abc import Iterator
from typing import Literal

import msgspec

from kilometers.core import units

INDENT = "  "
BAR = "│ "
FOLDED = "… "  # in front of what is not shown
TAB = 4
MAX_INLINE = 60  # characters of a list of plain values on one line
MIN_NESTED = 24  # characters: a shorter string is no document
MAX_DEPTH = 100  # however much is unfolded

PieceKind = Literal["key", "string", "number", "word", "mark", "note"]
Piece = tuple[PieceKind, str]
Line = list[Piece]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown before the rest is folded: characters and lines of a string, items, levels."""

    characters: int = 300
    lines: int = 12
    items: int = 20
    depth: int = 8


UNFOLDED = Limits(characters=2**31, lines=2**31, items=2**31, depth=MAX_DEPTH)


class Number(str):
    """A number as it was written."""

    __slots__ = ()


class Members(list[tuple[str, object]]):
    """An object's members, in their order."""

    __slots__ = ()


def outline(text: str, limits: Limits) -> Iterator[Line]:
    """Yield the lines of JSON text.  Raises ValueError and RecursionError where it is none that Python can read."""
    yield from _value(_load(text), limits, [], "", 0)


def _load(text: str) -> object:
    return json.loads(text, parse_float=Number, parse_int=Number, parse_constant=Number, object_pairs_hook=Members)


def _value(value: object, limits: Limits, before: Line, after: str, depth: int) -> Iterator[Line]:
    """Yield the lines of a value: *before* stands in front of the first, *after* behind the last."""
    match value:
        case Members():
            yield from _items(value, limits, before, after, depth, ("{", "}", "member"))
        case list():
            plain = _inline(value)
            if plain is not None:
                yield [*before, *plain, ("mark", after)]
            else:
                items = [("", item) for item in value]
                yield from _items(items, limits, before, after, depth, ("[", "]", "item"))
        case Number():
            yield [*before, ("number", value), ("mark", after)]
        case str():
            yield from _string(value, limits, before, after, depth)
        case _:
            yield [*before, ("word", json.dumps(value)), ("mark", after)]


def _items(
    items: list[tuple[str, object]],
    limits: Limits,
    before: Line,
    after: str,
    depth: int,
    words: tuple[str, str, str],
) -> Iterator[Line]:
    opening, closing, word = words
    if not items:
        yield [*before, ("mark", f"{opening}{closing}{after}")]
        return
    if depth >= limits.depth:
        yield [
            *before,
            ("mark", opening),
            ("note", f"{FOLDED}{units.count(len(items), word)}"),
            ("mark", f"{closing}{after}"),
        ]
        return
    yield [*before, ("mark", opening)]
    indent: Line = [("mark", INDENT * (depth + 1))]
    shown = items[: limits.items]
    for number, (key, item) in enumerate(shown, 1):
        name: Line = [("key", json.dumps(key, ensure_ascii=False)), ("mark", ": ")] if opening == "{" else []
        comma = "," if number < len(items) else ""
        yield from _value(item, limits, [*indent, *name], comma, depth + 1)
    if len(items) > len(shown):
        yield [*indent, ("note", f"{FOLDED}{units.count(len(items) - len(shown), f'more {word}')}")]
    yield [("mark", f"{INDENT * depth}{closing}{after}")]


def _inline(items: list[object]) -> Line | None:
    """Return a short list of plain values as one line."""
    pieces: Line = [("mark", "[")]
    for item in items:
        if not (item is None or isinstance(item, bool | str)):
            return None
        is_number = isinstance(item, Number)
        kind: PieceKind = "number" if is_number else "string" if isinstance(item, str) else "word"
        shown = str(item) if is_number else json.dumps(item, ensure_ascii=False)
        pieces += [("mark", ", " if len(pieces) > 1 else ""), (kind, shown)]
    is_short = sum(len(text) for _, text in pieces) <= MAX_INLINE
    return [*pieces, ("mark", "]")] if items and is_short else None


def _string(text: str, limits: Limits, before: Line, after: str, depth: int) -> Iterator[Line]:
    nested = _nested(text, limits) if depth < limits.depth else None
    if nested is not None:
        yield from _block(nested, limits, before, after, depth, note="JSON in a string")
    elif "\n" in text.strip("\n"):
        shown_lines = text.replace("\r\n", "\n").expandtabs(TAB).split("\n")
        lines: list[Line] = [[("string", line)] for line in shown_lines]
        yield from _block(lines, limits, before, after, depth, note=units.count(len(lines), "line"))
    else:
        left = len(text) - limits.characters
        shown = json.dumps(text if left <= 0 else text[: limits.characters], ensure_ascii=False)
        more: Line = [("note", f" {FOLDED}{left:,} more characters")] if left > 0 else []
        yield [*before, ("string", shown), *more, ("mark", after)]


def _block(lines: list[Line], limits: Limits, before: Line, after: str, depth: int, *, note: str) -> Iterator[Line]:
    yield [*before, ("note", note), ("mark", after)]
    margin: Piece = ("note", f"{INDENT * (depth + 1)}{BAR}")
    for line in lines[: limits.lines]:
        yield [margin, *((kind, text[: limits.characters]) for kind, text in line)]
    if len(lines) > limits.lines:
        yield [margin, ("note", f"{FOLDED}{units.count(len(lines) - limits.lines, 'more line')}")]


def _nested(text: str, limits: Limits) -> list[Line] | None:
    """Return the lines of an object or array that a string holds; None where it holds none."""
    if len(text) < MIN_NESTED or text.lstrip()[:1] not in {"{", "["}:
        return None
    try:
        value = _load(text)
        inner = msgspec.structs.replace(limits, depth=min(limits.depth, MAX_DEPTH // 2))
        return list(_value(value, inner, [], "", 0)) if isinstance(value, list) else None
    except (ValueError, RecursionError):
        return None
