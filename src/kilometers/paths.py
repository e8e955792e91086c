"""Where km keeps things.

`KILOMETERS_HOME` puts everything below one folder; otherwise the OS conventions decide.  XDG_DATA_HOME and
XDG_CONFIG_HOME are not asked: clients start servers without them, and the relay and the commands must meet in one
place.

The journal's place on Linux is a RAM folder, `kilometers-<hash of the home folder's device and inode>` below
/run/user/<uid> or /dev/shm; elsewhere, and where none of those can be used, `journal` in the home.
"""

import os
import stat
import sys
import zlib

RAM_MAGICS = (0x01021994, 0x858458F6)  # tmpfs, ramfs: statfs(2)
NETWORK_MAGICS = {
    0x6969: "nfs",
    0x517B: "smb",
    0xFE534D42: "smb2",
    0xFF534D42: "cifs",
    0x01021997: "9p",
    0x5346414F: "afs",
    0x00C36400: "ceph",
}


class Home:
    """km's own folders: *folder* for what it keeps, *config_file* for the settings a user may edit."""

    __slots__ = ("config_file", "folder")

    def __init__(self, folder: str, config_file: str) -> None:
        self.folder = folder
        self.config_file = config_file

    @property
    def store_file(self) -> str:
        """The database of sessions and events."""
        return os.path.join(self.store_folder, "store.db")

    @property
    def store_folder(self) -> str:
        """The home, or a local folder where the home is on a network file system, which SQLite's WAL cannot use."""
        if file_system_magic(self.folder) not in NETWORK_MAGICS:
            return self.folder
        name = f"kilometers-{user_id()}-{folder_hash(self.folder)}"
        local = os.path.join("/var/tmp", name)  # noqa: S108  # used only if it is ours, 0700 and no symlink
        return local if make_private_folder(local) else self.folder

    @property
    def ballast(self) -> str:
        """Given up when the disk is full: see store.py."""
        return os.path.join(self.store_folder, "ballast")

    @property
    def journal_folder(self) -> str:
        """Holds the sessions' markers; the journal itself only where no RAM folder can be used."""
        return os.path.join(self.folder, "journal")

    def marker(self, session_id: str) -> str:
        """Return the file that says, while a session lives, in which folder its journal is."""
        return os.path.join(self.journal_folder, session_id)

    @property
    def recorder_lock(self) -> str:
        """Locked by the recorder; says which km is the newest seen."""
        return os.path.join(self.folder, "recorder.lock")

    @property
    def poison_note(self) -> str:
        """There while a recorder works: see poison.py."""
        return os.path.join(self.folder, "recorder.note")

    @property
    def log_file(self) -> str:
        """The recorder's own log."""
        return os.path.join(self.folder, "log", "km.log")

    def ram_folders(self) -> list[str]:
        """Return the RAM folders that this home's journal may be in, best first; they need not exist."""
        if sys.platform != "linux":
            return []
        name = f"kilometers-{folder_hash(self.folder)}"
        return [os.path.join(parent, name) for parent in (f"/run/user/{user_id()}", "/dev/shm")]  # noqa: S108  # checked as above

    def journal_folders(self, journal_dir: str = "") -> list[str]:
        """Return every folder that may hold a journal of this home."""
        return [*([journal_dir] if journal_dir else self.ram_folders()), self.journal_folder]

    def next_journal_folder(self, journal_dir: str = "") -> str:
        """Return where the next session's journal would be; "" where nowhere, or the home is yet to be made."""
        if not os.path.isdir(self.folder):
            return ""  # a folder in memory is named after it
        return next((folder for folder in self.journal_folders(journal_dir) if can_be_private(folder)), "")


def find_home() -> Home:
    """Return the home that the environment and the OS say; nothing is made."""
    folder = os.environ.get("KILOMETERS_HOME", "")
    if folder:
        folder = os.path.abspath(folder)
        return Home(folder, os.path.join(folder, "config.toml"))
    user_home = find_user_home()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", "")
        if not os.path.isabs(local):  # unset, or `C:here`, which means another folder in every process
            local = os.path.join(user_home, "AppData", "Local")
        folder = os.path.join(local, "Kilometers")
        return Home(folder, os.path.join(folder, "config.toml"))
    if sys.platform == "darwin":
        folder = os.path.join(user_home, "Library", "Application Support", "Kilometers")
        return Home(folder, os.path.join(folder, "config.toml"))
    return Home(
        os.path.join(user_home, ".local", "share", "kilometers"),
        os.path.join(user_home, ".config", "kilometers", "config.toml"),
    )


def find_user_home() -> str:
    """Return HOME; our own passwd entry's where HOME is unset or another user's (sudo)."""
    home = os.environ.get("HOME", "")
    if sys.platform == "win32":
        profile = os.path.expanduser("~")  # USERPROFILE, else HOMEDRIVE and HOMEPATH, else as it is
        return profile if os.path.isabs(profile) else "C:\\nonexistent"
    if home:
        try:
            if os.stat(home).st_uid == os.getuid():
                return home
        except OSError:
            return home  # what cannot be looked at cannot be written either: km then records nothing and says so
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return home or "/nonexistent"


def make_home(home: Home) -> None:
    """Make the home's own folders, 0700.  Raises OSError; a missing user home is not made."""
    if not os.path.isdir(home.folder):
        parent = os.path.dirname(home.folder)
        if not os.environ.get("KILOMETERS_HOME"):
            user_home = find_user_home()
            if not os.path.isdir(user_home):
                raise FileNotFoundError(2, "no such folder", user_home)
        os.makedirs(parent, exist_ok=True)
        os.makedirs(home.folder, mode=0o700, exist_ok=True)
    os.makedirs(home.journal_folder, mode=0o700, exist_ok=True)


def make_private_folder(path: str) -> bool:
    """Make *path* with mode 0700 unless it is there; return whether it is a folder that is ours alone."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError:
        return False
    return is_private_folder(path)


def is_private_folder(path: str) -> bool:
    """Whether *path* is a real folder (no symlink), ours, and open to nobody else."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        return False
    return sys.platform == "win32" or (found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) & 0o077 == 0)


def can_be_private(path: str) -> bool:
    """Whether make_private_folder would succeed, without making anything."""
    parent = os.path.dirname(path)
    is_possible = os.path.isdir(parent) and os.access(parent, os.W_OK) and not os.path.lexists(path)
    return is_possible or is_private_folder(path)


def file_size(path: str) -> int:
    """Return a file's size; 0 where it is not there."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def folder_hash(path: str) -> str:
    """Return 8 digits made from the device and inode of *path*: the same for every way to the same folder."""
    try:
        found = os.stat(path)
    except OSError:
        return "00000000"
    return f"{zlib.crc32(f'{found.st_dev}:{found.st_ino}'.encode()):08x}"


def user_id() -> int:
    """Return the user's number; 0 on Windows, which has none."""
    if sys.platform == "win32":
        return 0
    return os.getuid()


def user_name() -> str:
    """Return the user's name as the passwd entry has it, or its number."""
    if sys.platform == "win32":
        return ""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def is_in_memory(path: str) -> bool:
    """Whether *path* is on a file system in memory, where an append cannot wait for a disk."""
    return file_system_magic(path) in RAM_MAGICS


def file_system_magic(path: str) -> int:
    """Return statfs's f_type, Linux only; 0 where it is unknown."""
    if sys.platform != "linux":
        return 0
    import ctypes

    answer = ctypes.create_string_buffer(256)  # struct statfs is 120 bytes; f_type is its first long
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(path), answer) != 0:
        return 0
    return int.from_bytes(answer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder) & 0xFFFFFFFF
