"""Retention: sessions older than `retention_days` go, then the oldest until the store fits into `retention_mb`."""

import time

from kilometers.config_file import read_config
from kilometers.core import settings
from kilometers.paths import Home
from kilometers.store import Store

EVERY_S = 60.0
BUDGET_S = 0.05  # so that recording goes on in between
DAY_US = 86_400_000_000


class Retention:
    """Deletes what is too old or too much, a session at a time, never one that lives."""

    def __init__(self, store: Store, home: Home) -> None:
        self.store = store
        self.home = home
        self._next_s = 0.0

    def apply(self) -> bool:
        """Delete, at most once a minute and BUDGET_S at a time; whether everything that has to go has gone."""
        begin_s = time.monotonic()
        if begin_s < self._next_s:
            return True
        days, megabytes = limits(self.home)
        oldest_us = time.time_ns() // 1000 - days * DAY_US
        while (oldest := self.store.oldest_ended_session()) is not None:
            number, ended_at_us = oldest
            if ended_at_us >= oldest_us and self.store.ended_bytes() <= megabytes * 1_000_000:
                break
            if self.store.delete_page(number):
                self.store.give_back()
            if time.monotonic() - begin_s > BUDGET_S:
                return False
        self._next_s = begin_s + EVERY_S
        return True


def limits(home: Home) -> tuple[int, int]:
    """Return the days and megabytes that config.toml says; the defaults where it cannot be understood."""
    config, _ = read_config(home.config_file)
    found = []
    for name in (settings.RETENTION_DAYS, settings.RETENTION_MB):
        try:
            found.append(int(settings.resolve(name, config=config).value))
        except ValueError:
            found.append(int(settings.SETTINGS[name][0]))
    return found[0], found[1]
