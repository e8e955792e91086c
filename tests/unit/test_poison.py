"""The note about the frame that the recorder is at."""

from pathlib import Path

from kilometers.core.session_id import make_session_id
from kilometers.poison import LARGE_FRAME_BYTES, PoisonNote

SESSION = make_session_id(0, bytes(10))


def test_first_recorder_begins_clean(tmp_path: Path) -> None:
    note = PoisonNote(str(tmp_path / "note"))

    assert not note.is_unclean
    assert not note.is_poison(SESSION, 1, 0, 10)
    note.remove()
    assert list(tmp_path.iterdir()) == []


def test_large_frame_condemns_itself_by_one_crash(tmp_path: Path) -> None:
    PoisonNote(str(tmp_path / "note")).is_poison(SESSION, 1, 500, LARGE_FRAME_BYTES + 1)
    next_recorder = PoisonNote(str(tmp_path / "note"))

    assert next_recorder.is_unclean
    assert next_recorder.is_poison(SESSION, 1, 500, LARGE_FRAME_BYTES + 1)
    assert not next_recorder.is_poison(SESSION, 2, 500, LARGE_FRAME_BYTES + 1)


def test_small_frame_condemns_itself_by_the_second_crash(tmp_path: Path) -> None:
    for _ in range(2):
        assert not PoisonNote(str(tmp_path / "note")).is_poison(SESSION, 1, 500, 10)

    assert PoisonNote(str(tmp_path / "note")).is_poison(SESSION, 1, 500, 10)


def test_step_that_is_done_condemns_nobody(tmp_path: Path) -> None:
    note = PoisonNote(str(tmp_path / "note"))
    note.is_poison(SESSION, 1, 500, LARGE_FRAME_BYTES + 1)
    note.clear()

    assert not PoisonNote(str(tmp_path / "note")).is_poison(SESSION, 1, 500, LARGE_FRAME_BYTES + 1)


def test_recorder_that_has_caught_up_notes_no_small_frames(tmp_path: Path) -> None:
    PoisonNote(str(tmp_path / "note"))
    note = PoisonNote(str(tmp_path / "note"))
    note.relax()
    note.is_poison(SESSION, 1, 500, 10)

    assert not PoisonNote(str(tmp_path / "note")).is_poison(SESSION, 1, 500, 10)


def test_frames_that_crash_one_after_the_other_stay_condemned(tmp_path: Path) -> None:
    path = str(tmp_path / "note")
    for offset in (100, 200, 300):
        PoisonNote(path).is_poison(SESSION, 1, offset, LARGE_FRAME_BYTES + 1)
    note = PoisonNote(path)

    assert all(note.is_poison(SESSION, 1, offset, LARGE_FRAME_BYTES + 1) for offset in (100, 200, 300))


def test_note_that_was_removed_is_written_no_more(tmp_path: Path) -> None:
    note = PoisonNote(str(tmp_path / "note"))
    note.remove()
    other = tmp_path / "other"
    with other.open("w+b"):  # has the note's old descriptor
        note.is_poison(SESSION, 1, 0, LARGE_FRAME_BYTES + 1)
        note.clear()

    assert other.read_bytes() == b""
