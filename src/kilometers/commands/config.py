"""`km config`: each setting's value and where it came from; changing config.toml."""


def run(*, as_json: bool) -> None:
    """Print every setting with its value, source and default."""
    raise NotImplementedError


def get(key: str) -> None:
    """Print a setting's value."""
    raise NotImplementedError


def set_value(key: str, value: str) -> None:
    """Set a value in config.toml."""
    raise NotImplementedError


def unset(key: str) -> None:
    """Take a value out of config.toml."""
    raise NotImplementedError


def path() -> None:
    """Print where config.toml is."""
    raise NotImplementedError


def find_keys(typed: str) -> list[str]:
    """Return the keys that begin with *typed*, for a shell's completion."""
    raise NotImplementedError
