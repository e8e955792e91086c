"""`km tail`: follow what happens."""

import sys
import time
from collections.abc import Iterator

from kilometers import console, paths
from kilometers.commands.events import print_events, print_wires
from kilometers.commands.reading import open_store
from kilometers.core.event import decode
from kilometers.following import Follower
from kilometers.queries import EventFilter, NothingRecorded, StoreReader

LAST_EVENTS = 10
LOOK_EVERY_S = 0.05


def run(session: str | None, wanted: EventFilter, *, limit: int | None, as_json: bool) -> None:
    """Print the last events, then each new one as it is recorded, until ^C; with *limit* only so many new ones."""
    left = sys.maxsize if limit is None else limit
    for wires in follow(session, wanted, last=LAST_EVENTS if limit is None else 0):
        page = wires[:left]
        if as_json:
            print_wires(page)
        else:
            print_events(page, has_sessions=True, has_head=False)
        sys.stdout.flush()
        left -= len(page)
        if left == 0:
            return


def follow(session: str | None, wanted: EventFilter, *, last: int) -> Iterator[list[bytes]]:
    """Yield the *last* events that have been recorded, then again and again what came in, in the order of time.

    With `--since` all since then come first.  Ends when the one session that is followed has ended.
    """
    home = paths.find_home()
    try:
        store = open_store()
    except NothingRecorded:
        console.say("Waiting for the first session. Wrap a server: km monitor -- COMMAND")
        before: list[bytes] = []
        follower = Follower(home, wanted, name=session or None)
    else:
        follower, before = begin(home, store, session, wanted, last=last)
    yield before
    known = {(event.session_id, event.seq) for event in map(decode, before)}
    while not follower.is_over:
        news = [(wire, decode(wire)) for wire in follower.news()]
        new = [(event.at, wire) for wire, event in news if (event.session_id, event.seq) not in known]
        if news:
            known.clear()  # only what came in while we began may come twice
        yield [wire for _, wire in sorted(new, key=lambda one: one[0])]
        time.sleep(LOOK_EVERY_S)


def begin(
    home: paths.Home, store: StoreReader, session: str | None, wanted: EventFilter, *, last: int
) -> tuple[Follower, list[bytes]]:
    """Return a follower of what comes from now on, and the events that went before: since a time, or the last ones."""
    number, follower = None, Follower(home, wanted)
    if session:
        number, summary = store.find_session(session)
        if summary.name == session:
            follower = Follower(home, wanted, name=session)
        else:
            follower = Follower(home, wanted, session_id=summary.session_id)
    follower.skip(store)
    if wanted.since_us is not None:
        return follower, list(store.events(number, wanted))
    return follower, list(store.events(number, wanted, limit=last, newest_first=True))[::-1]
