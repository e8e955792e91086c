"""Suggestions: what may have been meant by what was typed."""

from collections.abc import Iterable


def suggest(text: str, known: Iterable[str]) -> str:
    """Return a question for what may have been meant, in any case; behind a space, "" where nothing is near."""
    import difflib  # only where something was mistyped

    by_lower_case = {one.lower(): one for one in known}
    near = difflib.get_close_matches(text.lower(), by_lower_case, n=1)
    return f' Did you mean "{by_lower_case[near[0]]}"?' if near else ""
