from mailagent.intake.errors import IntakeError, ListenFailed
from mailagent.intake.listener import Intake
from mailagent.intake.received import received_header
from mailagent.intake.submission import Gate, Submission

__all__ = ["Gate", "Intake", "IntakeError", "ListenFailed", "Submission", "received_header"]
