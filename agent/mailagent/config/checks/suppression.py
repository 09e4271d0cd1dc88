"""What the values of the `suppression` section must be."""

from mailagent.config.reading import Reader
from mailagent.config.suppression import SuppressionList


def check_suppression(config: SuppressionList, report: Reader) -> None:
    """Report every mistake of meaning in the `suppression` section."""
    soft, incident = config.soft, config.incident
    if soft.messages < 1:
        report.follow_up(("suppression", "soft", "messages"), "must be at least 1")
    if soft.forget < soft.over:
        report.follow_up(("suppression", "soft", "forget"), "is shorter than `over`: no count would ever be complete")
    if not 0 <= incident.share <= 1:
        report.follow_up(("suppression", "incident", "share"), "is a share: 0 to 1")
    if incident.least < 1:
        report.follow_up(("suppression", "incident", "least"), "must be at least 1")
