"""What narrows ready queues."""

import pytest

from mailagent.answers import matches
from mailagent.api.errors import InvalidRequest
from mailagent.api.ids import ProviderName, QueueKey, SiteName, VmtaName
from mailagent.api.targets import MessageFilter
from mailagent.api.terms import Field, Term
from mailagent.api.views import QueueView

ROW = QueueView(
    key=QueueKey("gmail/mkt-1"),
    site=SiteName("gmail"),
    vmta=VmtaName("mkt-1"),
    provider=ProviderName("gmail"),
    ready=0,
    connections=0,
    connection_limit=None,
    messages_per_connection=None,
    rate_limit="",
    binding=None,
    generation=0,
)


def where(*terms: Term) -> MessageFilter:
    return MessageFilter(terms=terms)


def test_ready_queues_are_narrowed_by_alternatives_and_patterns() -> None:
    assert matches(where(Term(field=Field.VMTA, value="mkt-*"), Term(field=Field.PROVIDER, value="gmail")), ROW)
    assert matches(where(Term(field=Field.VMTA, value="x"), Term(field=Field.VMTA, value="mkt-1")), ROW)
    assert not matches(where(Term(field=Field.SITE, value="gmail", negated=True)), ROW)
    assert not matches(MessageFilter(vmta="mkt-2"), ROW)


def test_what_a_ready_queue_has_not_is_no_way_to_narrow_it() -> None:
    with pytest.raises(InvalidRequest, match="code"):
        matches(where(Term(field=Field.CODE, value="421")), ROW)
