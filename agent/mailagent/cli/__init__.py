"""Command line of the agent."""

from mailagent.cli.commands import main

__all__ = ["main"]
