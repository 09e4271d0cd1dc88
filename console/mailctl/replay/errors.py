"""Errors of recordings."""


class RecordingError(ValueError):
    """A file that is no recording, or one of another version: name another file, or use the mailctl that wrote it."""
