"""Recordings of a fleet: what the console received from all hosts, as JSON lines, written and played again."""

from mailctl.replay.errors import RecordingError
from mailctl.replay.player import Player
from mailctl.replay.recorder import Recorder
from mailctl.replay.recording import Recording

__all__ = ["Player", "Recorder", "Recording", "RecordingError"]
