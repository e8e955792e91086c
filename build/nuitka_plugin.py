"""Nuitka's plugin for this build.

Only Kilometers itself is compiled, what it uses is carried as bytecode: compiling the libraries as well doubles the
build's time and adds a third to its size, and starts no faster.  And environment.c becomes part of the program.
"""

from pathlib import Path

from nuitka.plugins.PluginBase import NuitkaPluginBase
from nuitka.utils.ModuleNames import ModuleName


class KilometersPlugin(NuitkaPluginBase):  # type: ignore[misc]  # Nuitka is not typed
    """What Nuitka has no flag for."""

    plugin_name = "kilometers"
    plugin_desc = "Compile only Kilometers itself, and keep Python's variables from it."

    def decideCompilation(self, module_name: ModuleName) -> str | None:  # noqa: N802  # the name is Nuitka's
        """Return Nuitka's word for how a module is carried, or None to leave it to Nuitka."""
        return "bytecode" if "." in module_name and not module_name.hasNamespace("kilometers") else None

    def getExtraCodeFiles(self) -> dict[str, bytes]:  # noqa: N802  # the name is Nuitka's
        """Return C files by name."""
        return {"environment.c": Path(__file__).with_name("environment.c").read_bytes()}
