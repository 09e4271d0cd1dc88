"""The command line. Importing it loads click and nothing heavier; commands import what they need when they run."""

from mailctl.cli.main import main

__all__ = ["main"]
