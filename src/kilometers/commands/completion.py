"""`km completion`: scripts for shells, and what they complete."""

import click

SHELLS = ("bash", "zsh", "fish", "powershell")


def run(shell: str) -> None:
    """Print the script for *shell*."""
    raise NotImplementedError


def find_sessions(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Return the server names and short session ids that begin with *typed*."""
    raise NotImplementedError
