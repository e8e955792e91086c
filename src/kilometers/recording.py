"""One session being recorded: its journal's reader, its core Session, its row in the store.

The order of a step is what makes it exactly once: read, commit (rows, open calls, state), and only then unlink.
"""

import os
import time

from kilometers import journal_reader
from kilometers.core import journal
from kilometers.core.pairing import Call
from kilometers.core.session import Session, SessionState, new_state
from kilometers.core.session_id import make_session_id, started_ms
from kilometers.core.summary import summarize
from kilometers.faults import reach
from kilometers.journal_reader import JournalReader, Lost
from kilometers.poison import PoisonNote
from kilometers.priority import give_way
from kilometers.store import Store

ROW_BYTES = 500  # of an event in memory, beside its payload
STEP_BYTES = 1 << 20  # of all sessions together, so that memory does not follow what has piled up


class Recording:
    """A session between its journal and its row."""

    def __init__(self, journal_id: str, store: Store, note: PoisonNote, install_id: str) -> None:
        self.journal_id = journal_id
        self.store = store
        self.note = note
        self.install_id = install_id
        self.reader = JournalReader(journal_id)
        self.is_finished = False
        self.is_lost = False
        """It ended because its journal had disappeared."""
        self.is_unclean = False
        """It ended without its relay's word, so its relay may turn out to live."""
        self.is_from_copied_home = False
        """It was begun in the home that this one is a copy of: how it ended is not known here."""
        self.has_news = True
        self._session: Session | None = None
        self._number = 0
        kept = store.find_session(journal_id)
        if kept is not None:
            self._number = kept.session_no
            self._session = self._make_session(kept.state, kept.calls)
            self.is_finished = kept.is_ended
            self.is_lost = kept.is_ended and kept.state.is_lost
            self.is_unclean = kept.is_ended and not kept.state.is_clean
            self.is_from_copied_home = kept.install_id != install_id

    def _make_session(self, state: SessionState, calls: list[Call] | None = None) -> Session:
        def is_poison(stream: int, offset: int, size_bytes: int) -> bool:
            give_way()
            reach("frame")
            is_poison = self.note.is_poison(self.journal_id, stream, offset, size_bytes)
            reach("noted")
            return is_poison

        return Session(state, calls, is_poison=is_poison)

    def read(self, files: list[str], folders: list[str]) -> int:
        """Read what has come in, up to STEP_BYTES, and return what it costs to keep it in memory, in bytes."""
        is_dead = not journal_reader.is_living(files)
        if is_dead:  # only what is there after its death is all there is
            files = journal_reader.find_sessions(folders).get(self.journal_id, [])
        self.reader.refresh(files)
        size_bytes = 0
        for item in self.reader.read(is_dead=is_dead):
            session = self._session or self._begin()
            if isinstance(item, Lost):
                session.take_totals(item.offsets, (item.reason,) * 3, item.wall_ns or time.time_ns())
            elif session.take(item):
                size_bytes += item.size
            else:
                self.reader.rewind(item)
            if session.is_full or size_bytes >= STEP_BYTES:
                self.has_news = True
                return size_bytes + session.row_count * ROW_BYTES
        self.has_news = False
        if is_dead:
            self._end(session=self._session or self._begin())
        return size_bytes + (self._session.row_count if self._session else 0) * ROW_BYTES

    def resume(self) -> None:
        """Go on with a session whose journal has turned up again: in another folder (logout), or with a new lock."""
        assert self._session is not None
        self._session.state.is_lost = False
        self._session.state.ended_ns = 0
        self.is_finished = self.is_lost = False

    def lose(self) -> None:
        """End a session whose journal is gone: what the store does not have, nobody has."""
        session = self._session or self._begin()
        session.lose(journal.REASONS[journal.LOST_JOURNAL], time.time_ns())
        session.finish(time.time_ns())
        self.is_finished = True

    def save(self) -> None:
        """Write what has been read; inside the step's transaction."""
        session = self._session
        if session is None:
            return
        state = session.sync_state()
        continues = self.journal_id if state.session_id != self.journal_id else None
        if not self._number:
            self._number = self.store.add_session(
                state, journal_id=self.journal_id, continues=continues, install_id=self.install_id
            )
        self.store.add_events(self._number, session.take_rows())
        self.store.save_calls(self._number, session.pairing.take_changes())
        summary = summarize(state, is_ended=self.is_finished)
        summary.continues = continues
        self.store.save_session(self._number, state, summary)

    def unlink_recorded(self, marker: str) -> None:
        """Unlink what is recorded; after the commit."""
        session = self._session
        if session is None:
            return
        if self.is_finished or self.is_from_copied_home:
            for path in (marker, f"{marker}.new"):  # the relay may have left before it had renamed it
                if os.path.exists(path):
                    os.unlink(path)
            self.reader.unlink_all()
            return
        state = session.state
        streams = [state.stream(number) for number in journal.STREAMS]
        first, second, third = (stream.consumed for stream in streams)
        self.reader.unlink_recorded((first, second, third))

    @property
    def held_bytes(self) -> int:
        """How much of frames that have not ended is in memory."""
        return self._session.held_bytes if self._session else 0

    def let_go(self) -> None:
        """Only count the frames that have not ended: other sessions need the memory."""
        if self._session:
            self._session.let_go()

    def close(self) -> None:
        """Let go of the journal's files."""
        self.reader.close()

    def _begin(self) -> Session:
        """Make the session; as a new stream where the store that had it was lost and a new one was begun."""
        base = self.reader.first_base or (0, 0, 0)
        is_in_lost_store = any(base) and started_ms(self.journal_id) < int(self.store.meta("begun_at_ms") or 0)
        state = new_state(make_session_id(time.time_ns(), os.urandom(10)) if is_in_lost_store else self.journal_id)
        if is_in_lost_store:
            for number, offset in zip(journal.STREAMS, base, strict=True):
                state.stream(number).consumed = offset
                state.stream(number).is_torn = True
        self._session = self._make_session(state)
        return self._session

    def _end(self, session: Session) -> None:
        if not session.state.is_clean:
            for lost in self.reader.last_words():
                session.take_totals(lost.offsets, (lost.reason,) * 3, lost.wall_ns)
        session.finish(time.time_ns())
        self.is_finished = True
