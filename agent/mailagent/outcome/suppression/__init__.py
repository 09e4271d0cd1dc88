from mailagent.outcome.suppression.book import ON_THE_LIST, SuppressionBook
from mailagent.outcome.suppression.keys import mailbox_key, normal_address

__all__ = ["ON_THE_LIST", "SuppressionBook", "mailbox_key", "normal_address"]
