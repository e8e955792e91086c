"""`km clear`: delete recorded sessions."""

import msgspec


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which sessions, as typed: one of the three."""

    session: str | None
    older_than: str | None
    with_all: bool


def run(wanted: Wanted, *, is_dry_run: bool, is_confirmed: bool) -> None:
    """Say what would be deleted, ask, and delete it."""
    raise NotImplementedError
