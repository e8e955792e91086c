r"""How Windows understands a command: which file its name means, and the one line that its arguments become.

Windows hands a program a single string.  Most programs split it by the rules of Microsoft's C run-time; a batch file
(.cmd, .bat: npx, npm) is run by cmd.exe, which reads the string in phases of its own before the script's programs do:

    program.exe          arguments ── quote_argument ──▶ line ──▶ split by the program
    script.cmd           arguments ── quote_batch_argument ──▶ line ──▶ cmd.exe: %…% ─▶ " < > & | ^ ( ) ─▶ %1 … %*
                         of the script ─▶ the same phases again, without %…% ─▶ split by the program

So that the same text survives both rounds of cmd.exe, whatever is not harmless stands in double quotes, and the number
of quotes is even: a quote of the argument is doubled, which the C run-time (since 2008), Rust and .NET read as one.
Nothing escapes a percent sign on the command line; `%%cd:~,%` leaves one: the empty part of a variable that always
exists, behind a `%` that begins no variable.  Line ends and NUL end what cmd.exe reads: they are refused.

Sources: "Parsing C command-line arguments", learn.microsoft.com; "Everyone quotes command line arguments the wrong
way", Microsoft's blog, 2011; CVE-2024-24576 and CVE-2024-43402 with Rust's answer to them (library/std, args.rs).
Used by child.py.
"""

import ntpath
import string
from collections.abc import Callable, Iterator, Sequence

PATHEXT = ".COM;.EXE;.BAT;.CMD"  # clients start servers without PATHEXT; of the system's own list, what can be started
BATCH_ENDINGS = {".bat", ".cmd"}
LONGEST_LINE = 32_766  # CreateProcessW
LONGEST_BATCH_LINE = 8_191  # cmd.exe
HARMLESS = frozenset(string.ascii_letters + string.digits + "#$*+-./:?@\\_")
"""Of ASCII, what means nothing to cmd.exe and does not separate a script's arguments, as , ; = do."""
PERCENT = "%%cd:~,%"


class CannotPass(ValueError):
    """The arguments cannot be passed unharmed; the text says which and why."""


def find_program(name: str, *, path: str, extensions: str, exists: Callable[[str], bool]) -> str | None:
    """Return the file that *name* means to a Windows shell, or None.

    *path* and *extensions* are PATH and PATHEXT.  The current folder is looked into only where PATH or the name says
    so: what lies there by chance is not what the user meant.  A file without an extension of PATHEXT is found only by
    its full name, and after the others: beside `npx.cmd` lies an `npx` for POSIX shells.
    """
    return next(filter(exists, candidates(name, path=path, extensions=extensions)), None)


def candidates(name: str, *, path: str, extensions: str) -> Iterator[str]:
    """Yield the files that *name* may mean, best first."""
    endings = [ending for ending in (extensions or PATHEXT).lower().split(";") if ending]
    has_ending = ntpath.splitext(name)[1].lower() in endings
    names = [name] if has_ending else [name + ending for ending in endings]
    if "." in ntpath.basename(name) and not has_ending:
        names.append(name)
    if not name:
        return
    if is_path(name):
        yield from names
        return
    for folder in path.split(";"):
        if cleaned := folder.strip().strip('"'):
            yield from (ntpath.join(cleaned, each) for each in names)


def is_path(name: str) -> bool:
    r"""Whether *name* says where it is: `.\server`, `bin/server`, `C:server`."""
    return any(mark in name for mark in "\\/:")


def is_batch_file(program: str) -> bool:
    """Whether cmd.exe has to run *program*; Windows takes no notice of dots and spaces at the end of a name."""
    return ntpath.splitext(program.rstrip(". "))[1].lower() in BATCH_ENDINGS


def command_line(command: Sequence[str]) -> str:
    """Return the line that a program splits into *command*.  Raises CannotPass."""
    line = " ".join([quote_program(command[0]), *map(quote_argument, command[1:])])
    if "\0" in line:
        raise CannotPass("an argument contains a NUL character")
    return check_length(line, LONGEST_LINE)


def batch_command_line(script: str, arguments: Sequence[str], *, interpreter: str) -> str:
    """Return the line with which *interpreter*, a cmd.exe, runs *script* with *arguments*.  Raises CannotPass.

    /d: no AutoRun commands; /e:on: the extensions that PERCENT needs; /v:off: `!` means nothing; /s: of the rest, the
    first and the last quote are removed, nothing else.
    """
    for text in (script, *arguments):
        if any(mark in text for mark in "\r\n\0"):
            raise CannotPass("cmd.exe, which runs it, can take no argument with a line end or NUL in it")
    words = [quoted(script.replace("%", PERCENT)), *map(quote_batch_argument, arguments)]
    return check_length(f'{quote_program(interpreter)} /d /e:on /v:off /s /c "{" ".join(words)}"', LONGEST_BATCH_LINE)


def check_length(line: str, longest: int) -> str:
    """Return *line* if Windows can take it.  Raises CannotPass."""
    length = len(line.encode("utf-16-le", "surrogatepass")) // 2
    if length > longest:
        raise CannotPass(f"its arguments have {length:,} characters, and {longest:,} are possible")
    return line


def quote_program(name: str) -> str:
    """Quote the first word of a line, in which no backslash escapes.  Raises CannotPass."""
    if '"' in name:
        raise CannotPass("a file name cannot contain a quote")
    return f'"{name}"' if not name or " " in name or "\t" in name else name


def quote_argument(argument: str) -> str:
    r"""Quote for the C run-time: `\` escapes only before a quote, or in a row of them that ends at one."""
    escaped = double_backslashes(argument, '\\"')
    return quoted(escaped) if not argument or " " in argument or "\t" in argument else escaped


def quote_batch_argument(argument: str) -> str:
    """Quote for cmd.exe, and for the program that gets the argument from the script."""
    is_harmless = all(char in HARMLESS or (char > "\x9f" and char.isprintable()) for char in argument)
    if argument and is_harmless and not argument.endswith("\\"):  # a script may write "%~1"
        return argument
    return quoted(double_backslashes(argument, '""').replace("%", PERCENT))


def double_backslashes(argument: str, quote: str) -> str:
    """Double every backslash that stands before a quote, and write *quote* for that."""
    pieces = argument.split('"')
    return quote.join([*(piece + trailing_backslashes(piece) for piece in pieces[:-1]), pieces[-1]])


def quoted(text: str) -> str:
    """Return *text* in quotes, the second of which no backslash escapes."""
    return f'"{text}{trailing_backslashes(text)}"'


def trailing_backslashes(text: str) -> str:
    """Return the backslashes at the end."""
    return text[len(text.rstrip("\\")) :]
