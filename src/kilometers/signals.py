"""Signals while something has to be put away afterwards: they end km by an exception, once, and in order."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]


@contextmanager
def leaving_on_signals() -> Iterator[None]:
    """Let TERM and HUP end what is inside as ^C does, by an exception; what it then puts away, nothing interrupts."""
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def leave(number: int, _frame: object) -> None:
        ignore_signals()
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    for number in [number for number, handler in before.items() if handler != signal.SIG_IGN]:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Take no notice of signals inside: what is put away there is bounded, and leaves nothing behind."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    ignore_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """Take no notice of signals until their handlers are set again."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
