import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "kilometers"
CORE = SOURCE / "core"
# Value modules: they compute and wait for nothing.
VALUES = """__future__ abc base64 binascii bisect codecs collections dataclasses datetime decimal difflib enum fnmatch
functools hashlib heapq hmac ipaddress itertools json kilometers.core math msgspec ntpath operator posixpath re shlex
string struct textwrap tomllib types typing unicodedata urllib.parse uuid zlib""".split()  # noqa: SIM905 - as a list it would fill a screen


def imported_modules(source: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(source)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {"." * node.level + (node.module or "") for node in nodes if isinstance(node, ast.ImportFrom)}


def is_value_module(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in VALUES)


def test_core_imports_values_only() -> None:
    imports = {path.name: imported_modules(path.read_text(encoding="utf-8")) for path in CORE.rglob("*.py")}
    other = [(name, module) for name, modules in imports.items() for module in modules if not is_value_module(module)]

    assert imports
    assert other == []


def test_other_imports_are_seen() -> None:
    source = "import os.path\nfrom kilometers import core\ndef f():\n    from time import sleep\nimport re, json"

    assert {name for name in imported_modules(source) if not is_value_module(name)} == {"os.path", "kilometers", "time"}


def own_imports(*, commands_are_one: bool) -> dict[str, set[str]]:
    """Return which of our modules each of them imports, inside functions too."""

    def module_name(dotted: str) -> str:
        name = nearest_module(dotted)
        return "commands" if commands_are_one and name.startswith("commands") else name

    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        name = module_name(path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", "."))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kilometers"):
                inside = (node.module or "").removeprefix("kilometers").removeprefix(".")
                names = [f"{inside}.{alias.name}".strip(".") for alias in node.names]
                found.setdefault(name, set()).update(map(module_name, names))
    return found


def nearest_module(dotted: str) -> str:
    """Return the module that a dotted name below kilometers lies in."""
    parts = dotted.split(".")
    while parts and not (SOURCE.joinpath(*parts).with_suffix(".py").exists() or SOURCE.joinpath(*parts).is_dir()):
        parts.pop()
    return ".".join(parts)


def test_imports_point_from_commands_to_the_edge_to_core() -> None:
    imports = own_imports(commands_are_one=True)
    above = {"__main__", "cli", "commands"}

    assert [(name, used) for name, used in imports.items() if name not in above and used & above] == []


def test_no_module_imports_itself_round_a_circle() -> None:
    imports = {name: used - {name, ""} for name, used in own_imports(commands_are_one=False).items()}
    while leaves := [name for name, used in imports.items() if not used & imports.keys()]:
        for name in leaves:
            del imports[name]

    assert imports == {}
