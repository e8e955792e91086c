"""Reading config.toml: by the relay, which must not hang on it, and by the recorder, which must not fail on it."""

import os
import stat

from kilometers.core import settings

MAX_BYTES = 1 << 20


def read_config(path: str) -> tuple[dict[str, object], str]:
    """Return the file's content, and what is wrong with it ("" = nothing); a file that is not there is empty."""
    try:
        # Not waiting for a writer, should somebody have put a pipe there.
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        return {}, f"{path}: {error.strerror}"
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return {}, f"{path}: it is no regular file"
        data = os.read(fd, MAX_BYTES + 1)
    except OSError as error:
        return {}, f"{path}: {error.strerror}"
    finally:
        os.close(fd)
    if len(data) > MAX_BYTES:
        return {}, f"{path}: it is larger than 1 MB"
    import tomllib

    try:
        return tomllib.loads(data.decode()), ""
    except (ValueError, RecursionError) as error:
        return {}, f"{path}: {error}"


def find_journal_dir(path: str) -> str:
    """Return the journal's folder that the environment or the file at *path* names, whole; "" where neither does."""
    config, _ = read_config(path)
    value = settings.resolve(settings.JOURNAL_DIR, environment=dict(os.environ), config=config).value
    return os.path.abspath(os.path.expanduser(value)) if value else ""
