"""Server time-outs, with the clock passed in."""

from mailagent.intake.patience import DATA_GRACE_S, MIN_RATE, TRANSACTION_S, Patience
from tests.agent.intake.doubles import QUEUED, Talk


def test_silence_between_commands_runs_out() -> None:
    talk, patience = Talk(), Patience(300, 0)
    assert not patience.exhausted(talk.session, 300)
    assert patience.exhausted(talk.session, 301) == "Timeout"


def test_a_completed_command_buys_time_and_octets_alone_do_not() -> None:
    talk, patience = Talk(), Patience(300, 0)
    talk.send(b"EHLO client.test\r\n")
    assert not patience.exhausted(talk.session, 200)
    talk.send(b"MAIL FR")
    assert not patience.exhausted(talk.session, 450)
    talk.send(b"OM:")
    assert patience.exhausted(talk.session, 501) == "Timeout"


def test_text_that_trickles_is_cut() -> None:
    talk, patience = Talk(), Patience(300, 0)
    talk.open()
    assert not patience.exhausted(talk.session, 1)
    for second in range(2, int(DATA_GRACE_S)):
        talk.send(b"x\r\n")
        assert not patience.exhausted(talk.session, second)
    assert patience.exhausted(talk.session, DATA_GRACE_S + 3) == "Data comes too slowly"


def test_text_at_the_floor_rate_goes_on_until_the_transaction_ends() -> None:
    talk, patience = Talk(), Patience(300, 0)
    talk.open()
    second = 0
    reason = ""
    while not reason:
        second += 10
        talk.send((b"x" * 98 + b"\r\n") * int(10 * MIN_RATE / 100))
        reason = patience.exhausted(talk.session, second)
    assert reason == "Transaction takes too long"
    assert TRANSACTION_S < second <= TRANSACTION_S + 20


def test_a_transaction_of_many_commands_has_an_end() -> None:
    talk, patience = Talk(), Patience(300, 0)
    talk.send(b"EHLO client.test\r\nMAIL FROM:<>\r\n"[:18])
    talk.send(b"MAIL FROM:<>\r\n")
    for second in range(0, int(TRANSACTION_S) + 1, 100):
        talk.send(b"RCPT TO:<b@two.test>\r\n")
        assert not patience.exhausted(talk.session, second)
    assert patience.exhausted(talk.session, TRANSACTION_S + 1) == "Transaction takes too long"


def test_a_new_transaction_starts_a_new_clock() -> None:
    talk, patience = Talk(), Patience(300, 0)
    for start in range(0, 2000, 250):
        talk.open()
        assert not patience.exhausted(talk.session, start)
        talk.send(b"Text\r\n.\r\n")
        assert not patience.exhausted(talk.session, start + 200)


def test_the_client_does_not_pay_for_our_own_slowness() -> None:
    talk, patience = Talk(), Patience(300, 0)
    talk.gate.holding = True
    talk.open()
    talk.send(b"Text\r\n.\r\n")
    assert not patience.exhausted(talk.session, 5000)
    talk.session.answer(QUEUED)
    assert not patience.exhausted(talk.session, 5299)
    assert patience.exhausted(talk.session, 5600) == "Timeout"
