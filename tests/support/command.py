"""Runs a command of ours, with its output."""

from collections.abc import Awaitable, Callable

Command = Callable[..., Awaitable[tuple[int, str, str]]]
"""Takes the words of a command line; gives the exit code, what it printed, and what it complained of."""
