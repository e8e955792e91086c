"""Kilometers: a flight recorder for MCP."""

__version__ = "0.1.0"
