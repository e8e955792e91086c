"""Why a server's command could not be started: the sentence, the next step, and the status that a shell would give.

Used by child.py.
"""

import errno
import os
import sys

from kilometers.errors import EXIT_CANNOT_BEGIN, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, KilometersError


def cannot_start(program: str, error: OSError, path: str) -> KilometersError:
    """Say why *program*, looked for in *path*, did not start, with the exit status that a shell would give."""
    problem = f'cannot start "{program}"'
    folders = path.split(os.pathsep) if path else []
    is_path = "/" in program or os.sep in program
    found = program if is_path else find_file(program, folders)
    if error.errno == errno.EACCES and found:
        return KilometersError(*why_not_executable(problem, program, found), exit_status=EXIT_NOT_EXECUTABLE)
    if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.EACCES}:
        status = EXIT_NOT_EXECUTABLE if error.errno == errno.ENOEXEC else EXIT_CANNOT_BEGIN
        return KilometersError(f"{problem}: {error.strerror}.", exit_status=status)
    if is_path:
        why = "its interpreter (the #! line) was not found" if os.path.exists(program) else "no such file"
        return KilometersError(f"{problem}: {why}.", exit_status=EXIT_NOT_FOUND)
    if found:
        return KilometersError(
            f"{problem}: the interpreter of {found} (its #! line) was not found.", exit_status=EXIT_NOT_FOUND
        )
    similar = nearest_program(program, folders)
    hint = f'Did you mean "{similar}"?' if similar else "Is it installed, and is its folder in PATH?"
    searched = f"{len(folders)} folder{'' if len(folders) == 1 else 's'} searched"
    return KilometersError(f"{problem}: not found in PATH ({searched}).", hint, exit_status=EXIT_NOT_FOUND)


def cannot_execute(program: str, found: str, error: OSError) -> KilometersError:
    """Say why Windows did not start the file that *program* was found to be."""
    problem = f'cannot start "{program}"'
    if error.errno != errno.ENOEXEC:
        return KilometersError(f"{problem}: {error.strerror} ({found}).", exit_status=EXIT_NOT_EXECUTABLE)
    return KilometersError(
        f"{problem}: {found} is no program that Windows can start.",
        "Name the program that runs it first, as in: python server.py",
        exit_status=EXIT_NOT_EXECUTABLE,
    )


def why_not_executable(problem: str, program: str, found: str) -> tuple[str, str]:
    """Return message and hint for a file that the kernel refused to execute."""
    if os.path.isdir(found):
        return f"{problem}: it is a folder.", ""
    if os.access(found, os.X_OK):
        return f"{problem}: its interpreter (the #! line) is not executable, or its disk permits no programs.", ""
    return f"{problem}: {'it' if found == program else found} is not executable.", f"Try: chmod +x {found}"


def find_file(program: str, folders: list[str]) -> str:
    """Return the first file of this name, executable or not; "" where there is none."""
    paths = (os.path.join(folder or ".", program) for folder in folders if program)
    return next((path for path in paths if os.path.isfile(path)), "")


def nearest_program(program: str, folders: list[str]) -> str:
    """Return the name in PATH that looks most like *program*, or ""."""
    import difflib

    names: set[str] = set()
    for folder in folders:
        try:
            names.update(name_to_type(name) for name in os.listdir(folder or "."))
        except OSError:
            continue
    matches = difflib.get_close_matches(program, names, n=1, cutoff=0.75)
    return matches[0] if matches else ""


def name_to_type(file: str) -> str:
    """Return what a user types for a file in PATH: on Windows without its extension."""
    return os.path.splitext(file)[0] if sys.platform == "win32" else file
