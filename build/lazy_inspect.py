"""Stands in for the standard library's `inspect` in a native km, until somebody uses it; nuitka_plugin.py fills CODE.

Nuitka imports `inspect` at every start, to put three functions of its own into it.  With what that imports in turn it
is half of the start-up time of `km monitor` and a quarter of a relay's memory, and no relay ever uses it.
"""

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CODE = b""
WAITING = ("getgeneratorstate", "getcoroutinestate", "_get_code_position")
_originals: "dict[str, Callable[..., object]]" = {}
_lock = _thread.RLock()


def _load() -> "dict[str, Callable[..., object]]":
    with _lock:
        if not _originals:
            import marshal

            here = globals()
            replaced = {name: here[name] for name in WAITING}
            exec(marshal.loads(CODE), here)  # noqa: S102, S302  # the standard library's own, put here by the build
            _originals.update({name: here[name] for name in WAITING})
            here.update(replaced)
            here.pop("__getattr__", None)
    return _originals


def __getattr__(name: str) -> object:
    if not name.startswith("__"):
        _load()
        if name in globals():
            return globals()[name]
    raise AttributeError(f"module 'inspect' has no attribute '{name}'")


def getgeneratorstate(generator: object) -> object:
    """Stand in for the function of this name."""
    return _load()["getgeneratorstate"](generator)


def getcoroutinestate(coroutine: object) -> object:
    """Stand in for the function of this name."""
    return _load()["getcoroutinestate"](coroutine)


def _get_code_position(code: object, instruction_index: int) -> object:
    return _load()["_get_code_position"](code, instruction_index)
