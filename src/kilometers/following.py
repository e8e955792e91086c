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
SELECT session_no, session_id, name, ended_at_us FROM sessions WHERE ended_at_us IS NULL
UNION
SELECT session_no, session_id, name, ended_at_us FROM sessions WHERE session_no >= :highest
UNION
SELECT session_no, session_id, name, ended_at_us FROM sessions
 WHERE session_no IN (SELECT value FROM json_each(:living))
UNION
SELECT session_no, session_id, name, ended_at_us FROM sessions WHERE session_id = :only
"""


class Follower:
    """A place in a store that grows."""

    def __init__(
        self, home: Home, wanted: EventFilter, *, session_id: str | None = None, name: str | None = None
    ) -> None:
        """Follow what is *wanted* of the session *session_id*, of the server called *name*, or of everything.

        The store may not be there yet.
        """
        self.home = home
        self.wanted = wanted
        self.session_id = session_id
        self.name = name
        self.is_over = False
        """The one session that is followed has ended, and everything of it was seen."""
        self._store: StoreReader | None = None
        self._inode = 0
        self._version = -1
        self._is_new_store = False
        self._highest = 0
        self._living: list[int] = []
        self._seen: dict[str, int] = {}
        """By session_id: the number of a session that was deleted is given to another one."""

    def skip(self, store: StoreReader) -> None:
        """Take everything that *store* holds for seen."""
        self._use(store, os.stat(self.home.store_file).st_ino)
        for number, session_id, _ in self._sessions():
            self._seen[session_id] = store.end_seq(number)

    def news(self) -> Iterator[bytes]:
        """Yield the wire form of what came in since the last look, session by session."""
        store = self._find_store()
        version = store.data_version() if store else -1
        if store is None or version == self._version:
            return
        self._version = version
        sessions = self._sessions()
        for number, session_id, _ in sessions:
            end_seq = store.end_seq(number)
            seen = self._seen.get(session_id, 0)  # above end_seq while a new store is caught up with
            yield from store.events(number, self.wanted, first_seq=seen, end_seq=end_seq)
            self._seen[session_id] = max(seen, end_seq)
        if self.session_id is not None:
            self._is_new_store = self._is_new_store and not sessions  # it has been caught up with
            is_deleted = not sessions and not self._is_new_store
            self.is_over = is_deleted or any(has_ended for _, _, has_ended in sessions)

    def _sessions(self) -> list[tuple[int, str, bool]]:
        """Return (session_no, session_id, has ended) of the sessions that may have news."""
        assert self._store is not None
        (newest,) = self._store.rows("SELECT coalesce(max(session_no), 0) FROM sessions", {})[0]
        if newest < self._highest:  # some were deleted, and their numbers are given to others
            self._highest = 0
        values = {"highest": self._highest, "living": json.dumps(self._living), "only": self.session_id}
        found = self._store.rows(SESSIONS, values)
        self._living = [number for number, _, _, ended_at_us in found if ended_at_us is None]
        self._highest = newest
        return [
            (number, session_id, ended_at_us is not None)
            for number, session_id, name, ended_at_us in found
            if self.session_id in {None, session_id} and self.name in {None, name}
        ]

    def _find_store(self) -> StoreReader | None:
        """Return the store that is in place, opened anew where it is another one."""
        try:
            inode = os.stat(self.home.store_file).st_ino
            if self._store is None or inode != self._inode:
                # What was seen stays seen: the journals of sessions that live are recorded anew in a new store.
                self._highest, self._living, self._is_new_store = 0, [], True
                self._use(StoreReader(self.home), inode)
        except (FileNotFoundError, NothingRecorded):
            return None
        return self._store

    def _use(self, store: StoreReader, inode: int) -> None:
        self._store, self._inode, self._version = store, inode, -1
