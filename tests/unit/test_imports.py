import ast
from pathlib import Path

CORE = Path(__file__).parents[2] / "src" / "kilometers" / "core"
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
