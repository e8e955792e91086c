"""The name of a server, made from its command once, at the start of a session.

The package or script that a launcher is told to run, else the program's own name, lower case:

    npx -y @scope/server-x@1.2     → server-x
    uvx --from git+… mcp-time      → mcp-time
    python -m mcp_server_time      → mcp_server_time
    node /opt/x/dist/index.js      → x   (index, main, server say nothing: the nearest telling folder does)
    docker run -i --rm mcp/fetch   → fetch
    sh -c "exec npx server-y"      → server-y
"""

MAX_DEPTH = 4  # of commands in commands: `sh -c "env A=b npx x"` is two
PACKAGE_LAUNCHERS = {"npx", "uvx", "bunx", "pnpx", "pipx"}
SCRIPT_LAUNCHERS = {
    "node",
    "python",
    "python2",
    "python3",
    "pythonw",
    "py",
    "bun",
    "deno",
    "tsx",
    "ts-node",
    "ruby",
    "perl",
    "php",
}
SHELLS = {"sh", "bash", "zsh", "dash", "ash", "ksh", "fish"}
CONTAINERS = {"docker", "podman", "nerdctl"}
LAUNCHER_VERBS = {
    "npm": ("exec", "x"),
    "pnpm": ("exec", "dlx"),
    "yarn": ("exec", "dlx"),
    "uv": ("tool", "run"),
    "pipx": ("run",),
    "bun": ("run", "x"),
    "deno": ("run",),
}
# Launchers that put another command in front: skipped, with their options.
PREFIXES = {"env", "exec", "nohup", "nice", "time", "sudo", "stdbuf", "timeout", "command"}
# File and folder names that many servers share, so they name none.
TELLS_NOTHING = {
    "index",
    "main",
    "server",
    "app",
    "cli",
    "run",
    "start",
    "__main__",
    "dist",
    "build",
    "src",
    "bin",
    "lib",
    "out",
}
SCRIPT_ENDINGS = (".py", ".js", ".mjs", ".cjs", ".ts", ".mts", ".rb", ".pl", ".php", ".sh")
PROGRAM_ENDINGS = (".exe", ".cmd", ".bat", ".ps1", ".com")
# Options that take the next word as their value: the launchers', then the interpreters', whose -u and -v stand alone.
OPTIONS_WITH_VALUE = {
    "-p", "--package", "--from", "--with", "--python", "--index", "--index-url", "--registry", "-r", "--require",
    "--import", "--loader", "-W", "-X", "-e", "--env", "--env-file", "-v", "--volume", "--mount", "--network", "--net",
    "--name", "-u", "--user", "-w", "--workdir", "--entrypoint", "--add-host", "--platform", "--spec", "-C", "--cache",
    "-n", "-k", "-s", "-i0", "-o0",
}  # fmt: skip
INTERPRETER_OPTIONS_WITH_VALUE = {"-W", "-X", "-r", "--require", "--import", "--loader", "--env-file"}


def server_name(command: list[str]) -> str:
    """Return the server's name for *command* (at least one word); never empty."""
    return _named_by(command, depth=0).lower() or "server"


def _named_by(command: list[str], *, depth: int) -> str:
    words = [word for word in command if word]
    if not words or depth > MAX_DEPTH:
        return "server"
    program = _program(words[0])
    rest = words[1:]
    if program in PREFIXES:
        rest = _without_options(rest)
        while rest and ("=" in rest[0].partition("/")[0] or _is_duration(rest[0])):
            rest = rest[1:]
        return _named_by(rest, depth=depth + 1) if rest else program
    if program in SHELLS:
        return _named_by_shell(program, rest, depth=depth)
    if program in CONTAINERS:
        return _named_by_container(program, rest)
    if program in PACKAGE_LAUNCHERS or (program in LAUNCHER_VERBS and rest):
        return _named_by_launcher(program, rest)
    if program.rstrip("0123456789.") in SCRIPT_LAUNCHERS:
        return _named_by_interpreter(program, rest)
    return program


def _program(word: str) -> str:
    name = word.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower()
    for ending in PROGRAM_ENDINGS:
        name = name.removesuffix(ending)
    return name


def _is_duration(word: str) -> bool:
    return word.rstrip("smhd").replace(".", "", 1).isdigit()


def _without_options(words: list[str], with_value: set[str] = OPTIONS_WITH_VALUE) -> list[str]:
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "--":
            break
        if option in with_value and rest:
            rest.pop(0)
    return rest


def _named_by_shell(program: str, words: list[str], *, depth: int) -> str:
    for index, word in enumerate(words):
        if word.startswith("-") and not word.startswith("--") and "c" in word:
            line = words[index + 1] if index + 1 < len(words) else ""
            last = line.replace("&&", ";").replace("||", ";").split(";")[-1]
            inner = [part.strip("'\"") for part in last.split()]
            # env's rule is the shell's too: assignments may stand before the command
            return _named_by(["env", *inner], depth=depth + 1) if inner else program
    rest = _without_options(words)
    return _script(rest[0]) if rest else program


def _named_by_container(program: str, words: list[str]) -> str:
    rest = _without_options(words)
    if rest[:1] == ["container"]:
        rest = rest[1:]
    if rest[:1] not in (["run"], ["exec"]):
        return program
    rest = _without_options(rest[1:])
    return _image(rest[0]) if rest else program


def _image(image: str) -> str:
    return image.split("@", maxsplit=1)[0].rsplit("/", 1)[-1].split(":", maxsplit=1)[0]


def _named_by_launcher(program: str, words: list[str]) -> str:
    directory = ""
    if "--directory" in words[:-1]:
        at = words.index("--directory")
        directory = words[at + 1]
        words = words[:at] + words[at + 2 :]
    while words and words[0] in LAUNCHER_VERBS.get(program, ()):
        words = words[1:]
    rest = _without_options(words)
    if not rest:
        return _script(directory) if directory else program
    if _program(rest[0]).rstrip("0123456789.") in SCRIPT_LAUNCHERS:
        return _named_by_interpreter(_program(rest[0]), rest[1:])
    if rest[0].endswith(SCRIPT_ENDINGS):
        return _script(f"{directory}/{rest[0]}" if directory else rest[0])
    return _package(rest[0])


def _package(package: str) -> str:
    """Strip scope, version, extras and address from a package's name."""
    name = package.rsplit("/", 1)[-1] if "/" in package else package
    for mark in ("@", "==", ">=", "~=", "[", "#"):
        name = name.split(mark)[0] or name
    return name.removesuffix(".git").removesuffix(".tgz")


def _named_by_interpreter(program: str, words: list[str]) -> str:
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "-m" and rest:
            parts = [part for part in rest[0].split(".") if part not in TELLS_NOTHING]
            return parts[-1] if parts else rest[0]
        if option in {"-c", "-e", "--eval", "-p"} and program != "perl":
            return program
        if option in INTERPRETER_OPTIONS_WITH_VALUE and rest:
            rest.pop(0)
    return _script(rest[0]) if rest else program


def _script(path: str) -> str:
    """Name a script or program after its file, or the nearest folder that says more."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
    names = [_without_ending(part) for part in reversed(parts)]
    telling = [name for name in names if name.lower() not in TELLS_NOTHING]
    return (telling or names or ["server"])[0]


def _without_ending(name: str) -> str:
    for ending in (*SCRIPT_ENDINGS, *PROGRAM_ENDINGS):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name
