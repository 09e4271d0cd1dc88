"""The accounting log: one line per event, in files that appear finished."""

from mailagent.outcome.accounting.files import LIVE_NAME, FinishedFile, finished_files, open_file
from mailagent.outcome.accounting.finder import Finder
from mailagent.outcome.accounting.log import AccountingLog
from mailagent.outcome.accounting.record import AccountingRecord, event_id, line

__all__ = [
    "LIVE_NAME",
    "AccountingLog",
    "AccountingRecord",
    "Finder",
    "FinishedFile",
    "event_id",
    "finished_files",
    "line",
    "open_file",
]
