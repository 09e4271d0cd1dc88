"""Outcome events to the application: the accounting files are the queue, a cursor per sink is all that is kept."""

from mailagent.outcome.events.sinks import Events

__all__ = ["Events"]
