"""`km` alone: what has been recorded, and what to do next."""


def run() -> None:
    """Print it."""
    raise NotImplementedError
