"""Nuitka's plugin for this build: only Kilometers itself is compiled, what it uses is carried as bytecode.

Compiling the libraries as well doubles the build's time and adds a third to its size, and starts no faster.
"""

from nuitka.plugins.PluginBase import NuitkaPluginBase


class OnlyOwnCode(NuitkaPluginBase):
    """Decides for each module whether it becomes C."""

    plugin_name = "only-own-code"
    plugin_desc = "Carry libraries as bytecode."

    def decideCompilation(self, module_name):
        """Return Nuitka's word for it, or None to leave it to Nuitka."""
        return "bytecode" if "." in module_name and not module_name.hasNamespace("kilometers") else None
