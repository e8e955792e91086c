"""Following the store: what was recorded since the last look, of one session, of one server's, or of all.

Every session has a place of its own, the seq of the first event that has not been seen.  A look costs next to nothing
while nothing was committed.  A store that is put in another's place is followed from its beginning.
"""

import json
import os
from collections.abc import Iterator

from kilometers.paths import Home
from kilometers.queries import EventFilter, NothingRecorded, StoreReader

# New sessions, those that live, and those that did at the last look: one may have ended since, with its last events.
SESSIONS = """
SELECT session_no, name, ended_at_us FROM sessions WHERE ended_at_us IS NULL
UNION
SELECT session_no, name, ended_at_us FROM sessions WHERE session_no > :highest
UNION
SELECT session_no, name, ended_at_us FROM sessions WHERE session_no IN (SELECT value FROM json_each(:living))
"""


class Follower:
    """A place in a store that grows."""

    def __init__(
        self, home: Home, wanted: EventFilter, *, session_no: int | None = None, name: str | None = None
    ) -> None:
        """Follow what is *wanted* of the session *session_no*, of the server called *name*, or of everything.

        The store may not be there yet.
        """
        self.home = home
        self.wanted = wanted
        self.session_no = session_no
        self.name = name
        self.is_over = False
        """The one session that is followed has ended, and everything of it was seen."""
        self._store: StoreReader | None = None
        self._inode = 0
        self._version = -1
        self._highest = 0
        self._living: list[int] = []
        self._seen: dict[int, int] = {}

    def skip(self, store: StoreReader) -> None:
        """Take everything that *store* holds for seen."""
        self._use(store)
        for number, _ in self._sessions():
            self._seen[number] = store.end_seq(number)
        (self._highest,) = store.rows("SELECT coalesce(max(session_no), 0) FROM sessions", {})[0]

    def news(self) -> Iterator[bytes]:
        """Yield the wire form of what came in since the last look, session by session."""
        store = self._find_store()
        version = store.data_version() if store else -1
        if store is None or version == self._version:
            return
        self._version = version
        for number, has_ended in self._sessions():
            end_seq = store.end_seq(number)
            yield from store.events(number, self.wanted, first_seq=self._seen.get(number, 0), end_seq=end_seq)
            self._seen[number] = end_seq
            self.is_over = self.is_over or (has_ended and number == self.session_no)

    def _sessions(self) -> list[tuple[int, bool]]:
        """Return the sessions that may have news, and whether they have ended."""
        assert self._store is not None
        living = [*self._living, self.session_no or 0]
        found = self._store.rows(SESSIONS, {"highest": self._highest, "living": json.dumps(living)})
        self._living = [number for number, _, ended_at_us in found if ended_at_us is None]
        self._highest = max([self._highest, *(number for number, _, _ in found)])
        return [
            (number, ended_at_us is not None)
            for number, name, ended_at_us in found
            if self.session_no in {None, number} and self.name in {None, name}
        ]

    def _find_store(self) -> StoreReader | None:
        """Return the store that is in place, opened anew where it is another one."""
        try:
            inode = os.stat(self.home.store_file).st_ino
            if self._store is None or inode != self._inode:
                self._use(StoreReader(self.home))
                self._seen, self._highest, self._living = {}, 0, []
        except (FileNotFoundError, NothingRecorded):
            return None
        return self._store

    def _use(self, store: StoreReader) -> None:
        self._store = store
        self._inode = os.stat(self.home.store_file).st_ino
        self._version = -1
