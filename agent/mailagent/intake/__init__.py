from mailagent.intake.errors import CertificateUnusable, IntakeError, ListenFailed
from mailagent.intake.listener import Intake, certificates
from mailagent.intake.received import received_header
from mailagent.intake.submission import Gate, Submission

__all__ = [
    "CertificateUnusable",
    "Gate",
    "Intake",
    "IntakeError",
    "ListenFailed",
    "Submission",
    "certificates",
    "received_header",
]
