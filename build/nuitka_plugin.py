"""Nuitka's plugin for this build.

Only Kilometers itself is compiled, what it uses is carried as bytecode: compiling the libraries as well doubles the
build's time and adds a third to its size, and starts no faster.  environment.c becomes part of the program, and
`inspect` waits until somebody uses it (lazy_inspect.py).
"""

import marshal
from pathlib import Path

from nuitka.plugins.PluginBase import NuitkaPluginBase
from nuitka.utils.ModuleNames import ModuleName

HERE = Path(__file__).parent


class KilometersPlugin(NuitkaPluginBase):  # type: ignore[misc]  # Nuitka is not typed
    """What Nuitka has no flag for; the names of the methods are Nuitka's."""

    plugin_name = "kilometers"
    plugin_desc = "Compile only Kilometers itself, and keep from it what slows its start."

    def decideCompilation(self, module_name: ModuleName) -> str | None:  # noqa: N802
        """Return Nuitka's word for how a module is carried, or None to leave it to Nuitka."""
        return "bytecode" if "." in module_name and not module_name.hasNamespace("kilometers") else None

    def getExtraCodeFiles(self) -> dict[str, bytes]:  # noqa: N802
        """Return C files by name."""
        return {"environment.c": (HERE / "environment.c").read_bytes()}

    def onModuleSourceCode(self, module_name: ModuleName, source_filename: str, source_code: str) -> str:  # noqa: N802
        """Return a module's source, or what stands in for it."""
        if module_name != "inspect":
            return source_code
        code = marshal.dumps(compile(source_code, Path(source_filename).name, "exec", dont_inherit=True))
        stand_in = (HERE / "lazy_inspect.py").read_text(encoding="utf-8")
        return stand_in.replace('CODE = b""', f"CODE = {code!r}", 1)
