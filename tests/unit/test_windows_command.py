r"""Windows' command lines, read back by a second implementation of what reads them there.

`split` follows "Parsing C command-line arguments" (Microsoft).  `CommandInterpreter` follows what is known of cmd.exe's
phases ("How does the Windows Command Interpreter parse scripts?", Stack Overflow 4094699), as far as lines without line
ends, `for`, `if`, labels and delayed expansion need them.
"""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kilometers.core.windows_command import (
    LONGEST_BATCH_LINE,
    LONGEST_LINE,
    CannotPass,
    batch_command_line,
    candidates,
    command_line,
    find_program,
    is_batch_file,
)

CMD = "C:\\Windows\\System32\\cmd.exe"
SCRIPT = "C:\\Program Files (x86)\\%path% & 100%\\npx.cmd"
VARIABLES = {"path": "C:\\bin&calc", "1": "wrong", "cd": "C:\\here"}
HOSTILE = st.text(st.sampled_from("ab \t\"\\%^&|<>()!=,;~:*?'`@#cdPATH1ä\u00a0\u3000") | st.characters(codec="utf-8"))
PASSABLE = HOSTILE.filter(lambda text: not set("\r\n\0") & set(text))


def split(line: str) -> list[str]:
    """Split a command line as Microsoft's C run-time does since 2008."""
    program = re.match(r'(?:"[^"]*"?|[^" \t])*', line)
    assert program is not None
    words = [program[0].replace('"', "")]
    word, is_quoted, has_word, at = "", False, False, program.end()
    while at < len(line):
        run = re.compile(r'(\\*)(")?').match(line, at)
        assert run is not None
        backslashes, quote = run.groups()
        at = run.end()
        if quote is None and not backslashes:
            char, at = line[at], at + 1
            if char in " \t" and not is_quoted:
                words, word, has_word = words + [word] * has_word, "", False
            else:
                word, has_word = word + char, True
            continue
        has_word = True
        word += "\\" * (len(backslashes) // 2 if quote else len(backslashes))
        if quote is None:
            continue
        if len(backslashes) % 2:
            word += '"'
        elif is_quoted and line[at : at + 1] == '"':
            word, at = word + '"', at + 1
        else:
            is_quoted = not is_quoted
    return words + [word] * has_word


class CommandInterpreter:
    """What cmd.exe makes of a line, and the script of what it gets."""

    def run(self, line: str) -> tuple[str, str]:
        """Return the script that `cmd.exe OPTIONS /s /c "…"` runs, and the text of its %*."""
        options, command = line.split(" /c ", 1)
        assert options == f"{CMD} /d /e:on /v:off /s"
        assert command[0] == command[-1] == '"'
        words = self.read(self.expand(command[1:-1]))
        script = re.match(r'"([^"]*)" ?', words)
        assert script is not None
        return script[1], words[script.end() :]

    def expand(self, text: str) -> str:
        """Replace variables as on the command line: what is no variable stays, its percent sign too."""
        result, at = "", 0
        while at < len(text):
            variable = re.compile(r"%([^%:]+)(?::~(-?\d*),(-?\d*))?%").match(text, at)
            value = VARIABLES.get(variable[1].lower()) if variable else None
            if variable is None or value is None:
                result, at = result + text[at], at + 1
            elif variable[2] is None:
                result, at = result + value, variable.end()
            else:
                begin, length = int(variable[2] or 0), int(variable[3] or 0)
                result, at = result + value[begin : begin + length], variable.end()
        return result

    def read(self, text: str) -> str:
        """Return *text* as it reaches a program: nothing outside quotes may mean anything to cmd.exe."""
        is_quoted = False
        for char in text:
            if char == '"':
                is_quoted = not is_quoted
            assert is_quoted or char not in "^&|<>()%!\t", f"{char} outside quotes: {text}"
        assert not is_quoted
        return text

    def parameters(self, text: str) -> list[str]:
        """Return what %1, %2, … of the script are: quotes stay, and , ; = separate, too."""
        return re.findall(r'(?:"[^"]*"|[^" \t,;=])+', text)


def arguments_of_programs_started_by(line: str) -> list[str]:
    """Return the arguments of a program that the script starts as npm's shims do: with %*."""
    interpreter = CommandInterpreter()
    script, rest = interpreter.run(line)
    assert script == SCRIPT
    return split(interpreter.read(f'"C:\\node.exe" "C:\\npx-cli.js" {rest}'))[2:]


@given(st.lists(HOSTILE.filter(lambda text: "\0" not in text)))
@example(["", " ", "\t", "\\", "\\ ", '\\"', '"', '""', 'a\\\\"b c', "c:\\dir\\"])
def test_program_gets_its_arguments_unharmed(arguments: list[str]) -> None:
    assert split(command_line(["server", *arguments])) == ["server", *arguments]


@pytest.mark.parametrize("program", ["server", "C:\\Program Files\\server.exe", "..\\a\tb.exe", ""])
def test_program_gets_its_own_name_unharmed(program: str) -> None:
    assert split(command_line([program, "x"])) == [program, "x"]


@given(st.lists(PASSABLE, max_size=4))
@example(["%PATH%", "100%", "%%", "%1", "%cd:~,%", "%", '%"%', "\\%"])
@example(['say "hi"', '"&calc&"', '\\"', "dir\\", "", "a^b", "(x)", "!x!"])
def test_program_behind_a_batch_file_gets_its_arguments_unharmed(arguments: list[str]) -> None:
    assert arguments_of_programs_started_by(batch_command_line(SCRIPT, arguments, interpreter=CMD)) == arguments


@given(st.lists(PASSABLE, max_size=4))
@example(["a=b", "a,b;c", "x", ""])
def test_batch_file_gets_as_many_parameters_as_there_are_arguments(arguments: list[str]) -> None:
    interpreter = CommandInterpreter()
    rest = interpreter.run(batch_command_line(SCRIPT, arguments, interpreter=CMD))[1]

    assert len(interpreter.parameters(rest)) == len(arguments)


@given(PASSABLE.filter(lambda text: '"' not in text))
@example("ends in \\")
@example("\\")
def test_batch_file_may_quote_a_parameter_again(argument: str) -> None:
    interpreter = CommandInterpreter()
    rest = interpreter.run(batch_command_line(SCRIPT, [argument], interpreter=CMD))[1]

    assert split("node " + '"' + interpreter.parameters(rest)[0].strip('"') + '"') == ["node", argument]


@pytest.mark.parametrize("argument", ["-y", "@scope/server-x@1.2", "C:\\work\\notes", "https://example.org/a?b#c"])
def test_harmless_argument_of_a_batch_file_stays_unquoted(argument: str) -> None:
    assert batch_command_line("npx.cmd", [argument], interpreter="cmd.exe").endswith(f'"npx.cmd" {argument}"')


@pytest.mark.parametrize("mark", ["\n", "\r", "\0"])
def test_what_cmd_cannot_take_is_refused(mark: str) -> None:
    with pytest.raises(CannotPass, match="line end or NUL"):
        batch_command_line("npx.cmd", [f"a{mark}b"], interpreter=CMD)


def test_nul_is_refused() -> None:
    with pytest.raises(CannotPass, match="NUL"):
        command_line(["server", "a\0b"])


def test_quote_in_a_programs_name_is_refused() -> None:
    with pytest.raises(CannotPass, match="quote"):
        command_line(['ser"ver'])


def test_line_that_windows_cannot_take_is_refused() -> None:
    room = LONGEST_LINE - len("server ")
    assert len(command_line(["server", "x" * room])) == LONGEST_LINE

    for text in ("x" * (room + 1), "🙂" * (room // 2 + 1)):
        with pytest.raises(CannotPass, match="32,766 are possible"):
            command_line(["server", text])


def test_line_that_cmd_cannot_take_is_refused() -> None:
    with pytest.raises(CannotPass, match="8,191 are possible"):
        batch_command_line("npx.cmd", ["x" * LONGEST_BATCH_LINE], interpreter="cmd.exe")


def found(name: str, *files: str, path: str = "C:\\a;C:\\b", extensions: str = "") -> str | None:
    return find_program(name, path=path, extensions=extensions, exists={*files}.__contains__)


def test_bare_name_is_found_with_an_extension_in_paths_order() -> None:
    assert found("npx", "C:\\b\\npx.exe", "C:\\a\\npx.cmd") == "C:\\a\\npx.cmd"


def test_extensions_go_in_their_own_order() -> None:
    assert found("npx", "C:\\a\\npx.cmd", "C:\\a\\npx.exe") == "C:\\a\\npx.exe"
    assert found("npx", "C:\\a\\npx.cmd", "C:\\a\\npx.exe", extensions=".CMD;.EXE") == "C:\\a\\npx.cmd"


def test_file_for_other_shells_is_not_what_a_bare_name_means() -> None:
    assert found("npx", "C:\\a\\npx", "C:\\a\\npx.ps1", "C:\\b\\npx.cmd") == "C:\\b\\npx.cmd"
    assert found("npx", "C:\\a\\npx", "C:\\a\\npx.ps1") is None


def test_name_with_its_extension_means_that_file() -> None:
    assert found("NPX.CMD", "C:\\a\\NPX.CMD.exe", "C:\\b\\NPX.CMD") == "C:\\b\\NPX.CMD"


def test_name_with_a_dot_may_lack_its_extension() -> None:
    assert found("server.v2", "C:\\a\\server.v2", "C:\\a\\server.v2.exe") == "C:\\a\\server.v2.exe"
    assert found("server.py", "C:\\a\\server.py") == "C:\\a\\server.py"


@pytest.mark.parametrize("name", [".\\server", "bin/server", "C:server", "\\\\host\\share\\server"])
def test_name_that_says_where_is_not_looked_for(name: str) -> None:
    assert found(name, f"{name}.exe", f"C:\\a\\{name}.exe") == f"{name}.exe"


def test_current_folder_counts_only_where_path_names_it() -> None:
    assert found("server", "server.exe", ".\\server.exe", path="C:\\a;;") is None
    assert found("server", ".\\server.exe", path="C:\\a;.") == ".\\server.exe"


def test_quotes_round_a_folder_in_path_are_not_its_name() -> None:
    assert found("server", "C:\\a b\\server.exe", path='"C:\\a b";') == "C:\\a b\\server.exe"


def test_empty_name_means_no_file() -> None:
    assert list(candidates("", path="C:\\a", extensions="")) == []


@pytest.mark.parametrize("program", ["npx.cmd", "C:\\a\\NPX.BAT", "npx.cmd . "])
def test_batch_file_is_known_by_its_extension(program: str) -> None:
    assert is_batch_file(program)


@pytest.mark.parametrize("program", ["npx.exe", "a.cmd\\npx", "cmd", ""])
def test_other_files_are_no_batch_files(program: str) -> None:
    assert not is_batch_file(program)
