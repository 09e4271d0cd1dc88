"""Connections to scripted peers over real sockets."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from mailagent.api.ids import VmtaName
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.delivery import (
    AddressesExhausted,
    AddressNotOnHost,
    ConnectFailed,
    Connection,
    Source,
    connect,
)
from mailagent.routing import Hop
from tests.agent.delivery.peer import BODY, SOURCE, Dialogue, Recorder, message, peer, timeouts
from tests.integration.processes import free_port


async def take_all(dialogue: Dialogue) -> None:
    """A peer that takes every message, until QUIT."""
    await dialogue.greet("PIPELINING", "8BITMIME", "SIZE 50000000")
    while (line := await dialogue.hear()) != "QUIT":
        if line.startswith("MAIL"):
            await dialogue.accept([line, *await dialogue.envelope()])
            await dialogue.data()
            await dialogue.say("250 2.0.0 taken")
    await dialogue.say("221 bye")


async def test_messages_go_over_one_connection_and_the_owner_hears_each_step() -> None:
    async with peer(take_all) as hop:
        owner = Recorder(message(), message(b"u@x.example", b"v@x.example"))
        reply, transaction, in_doubt = await owner.run(hop)
    assert owner.events == [
        ("ready", None),
        ("before_dot", [0]),
        ("settled", [250]),
        ("ready", None),
        ("before_dot", [0, 1]),
        ("settled", [250, 250]),
        ("ready", None),
        ("closed", False),
    ]
    assert (reply.code, transaction, in_doubt) == (221, None, False)
    assert owner.connection is not None
    assert owner.connection.sent == 2
    assert owner.connection.remote == f"127.0.0.1:{hop.port}"
    assert (owner.connection.mx, owner.connection.vmta, owner.connection.source) == ("mx.example", "a1", "127.0.0.1")


async def test_the_message_arrives_as_stored() -> None:
    seen: list[bytes] = []

    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("PIPELINING")
        await dialogue.envelope()
        await dialogue.say("250 ok", "250 ok", "354 go")
        seen.append(await dialogue.data())
        await dialogue.say("250 ok")
        assert await dialogue.hear() == "QUIT"
        await dialogue.say("221 bye")

    async with peer(script) as hop:
        await Recorder(message(body=BODY + b".hidden\r\n")).run(hop)
    assert seen == [b"X-Added: 1\r\n" + BODY + b"..hidden\r\n"]


async def test_a_large_message_goes_out_in_blocks() -> None:
    body = b"Subject: large\r\n\r\n" + (b"." + b"y" * 98 + b"\r\n") * 80_000
    seen: list[bytes] = []
    owner = Recorder(message(body=body))

    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("PIPELINING")
        await dialogue.accept(await dialogue.envelope())
        seen.append(await dialogue.data())
        await dialogue.say("250 ok")
        assert await dialogue.hear() == "QUIT"
        await dialogue.say("221 bye")

    async with peer(script) as hop:
        await owner.run(hop)
    assert seen[0] == b"X-Added: 1\r\n" + body.replace(b"\r\n.", b"\r\n..")
    assert owner.names() == ["ready", "before_dot", "settled", "ready", "closed"]


async def test_replies_that_come_byte_by_byte_are_understood() -> None:
    async def script(dialogue: Dialogue) -> None:
        async def drip(text: str) -> None:
            for byte in text.encode():
                dialogue.writer.write(bytes((byte,)))
                await dialogue.writer.drain()
                await asyncio.sleep(0)

        await drip("220-hello\r\n220 peer\r\n")
        await dialogue.hear()
        await drip("250-peer\r\n250 PIPELINING\r\n")
        await dialogue.envelope()
        await drip("250 ok\r\n550 5.1.1 no\r\n250 ok\r\n354 go\r\n")
        await dialogue.data()
        await drip("250 2.0.0 done\r\n")
        await dialogue.hear()
        await drip("221 bye\r\n")

    async with peer(script) as hop:
        owner = Recorder(message(b"u@x.example", b"v@x.example"))
        reply, _, _ = await owner.run(hop)
    assert ("before_dot", [1]) in owner.events
    assert ("settled", [550, 250]) in owner.events
    assert reply.code == 221


async def at_greeting(dialogue: Dialogue) -> None:
    await dialogue.say("220 peer")
    await dialogue.hear()


async def at_mail(dialogue: Dialogue) -> None:
    await dialogue.greet()
    await dialogue.hear()


async def at_rcpt(dialogue: Dialogue) -> None:
    await dialogue.greet()
    await dialogue.hear()
    await dialogue.say("250 ok")
    await dialogue.hear()


async def at_data(dialogue: Dialogue) -> None:
    await dialogue.greet("PIPELINING")
    await dialogue.envelope()
    await dialogue.say("250 ok", "250 ok")


async def in_body(dialogue: Dialogue) -> None:
    await dialogue.greet("PIPELINING")
    await dialogue.accept(await dialogue.envelope())
    await dialogue.reader.read(1000)


async def at_dot(dialogue: Dialogue) -> None:
    await dialogue.greet("PIPELINING")
    await dialogue.accept(await dialogue.envelope())
    await dialogue.data()


STEPS = [(at_mail, "MAIL", False), (at_rcpt, "RCPT", False), (at_data, "DATA", False), (at_dot, ".", True)]


@pytest.mark.parametrize(("step", "verb", "in_doubt"), STEPS)
@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_cut_midway_is_told_with_its_transaction(
    step: Callable[[Dialogue], Awaitable[None]], verb: str, in_doubt: bool, reset: bool
) -> None:
    async def script(dialogue: Dialogue) -> None:
        await step(dialogue)
        if reset:
            dialogue.cut()

    async with peer(script) as hop:
        sent = message()
        owner = Recorder(sent)
        reply, transaction, doubt = await owner.run(hop)
    assert transaction is sent
    assert doubt is in_doubt
    assert ("before_dot" in owner.names()) is in_doubt
    assert (reply.code, reply.enhanced, reply.local, reply.verb.value) == (0, "4.4.2", True, verb)
    assert f"while waiting for the answer to {verb}" in reply.text
    assert owner.names()[-1] == "closed"
    assert "settled" not in owner.names()


@pytest.mark.parametrize(("step", "verb", "in_doubt"), STEPS)
async def test_a_silent_peer_is_left_after_the_time_of_the_step(
    step: Callable[[Dialogue], Awaitable[None]], verb: str, in_doubt: bool
) -> None:
    async def script(dialogue: Dialogue) -> None:
        await step(dialogue)
        await dialogue.closed()

    name = {"MAIL": "mail", "RCPT": "rcpt", "DATA": "data", ".": "dot"}[verb]
    async with peer(script) as hop:
        sent = message()
        owner = Recorder(sent)
        reply, transaction, doubt = await owner.run(hop, limits=timeouts(**{name: 0.05}))
    assert (transaction, doubt) == (sent, in_doubt)
    assert reply == SmtpReply(
        code=0, enhanced="4.4.2", text=f"no answer to {verb} within 0.05 s", verb=Verb(verb), local=True
    )


async def test_a_peer_that_stops_reading_the_body_is_left_and_nothing_is_in_doubt() -> None:
    async def script(dialogue: Dialogue) -> None:
        await in_body(dialogue)
        dialogue.writer.transport.pause_reading()  # type: ignore[attr-defined]
        assert owner.connection is not None
        await asyncio.wait_for(asyncio.shield(owner.end), 10)

    async with peer(script) as hop:
        owner = Recorder(message(body=b"x" * 98 + b"\r\n" + (b"y" * 98 + b"\r\n") * 200_000))
        reply, transaction, in_doubt = await owner.run(hop, limits=timeouts(block=0.1))
    assert transaction is not None
    assert not in_doubt
    assert "took nothing of the message" in reply.text
    assert "before_dot" not in owner.names()


async def test_a_refusal_during_the_body_settles_and_closes() -> None:
    async def script(dialogue: Dialogue) -> None:
        await in_body(dialogue)
        await dialogue.say("552 5.3.4 too much")
        await dialogue.closed()

    async with peer(script) as hop:
        owner = Recorder(message(body=(b"y" * 98 + b"\r\n") * 200_000))
        reply, transaction, in_doubt = await owner.run(hop)
    assert ("settled", [552]) in owner.events
    assert (reply.code, transaction, in_doubt) == (552, None, False)


async def test_421_midway_closes_with_the_peers_words() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("PIPELINING")
        await dialogue.envelope()
        await dialogue.say("250 ok", "421 4.7.28 unusual rate")
        await dialogue.closed()

    async with peer(script) as hop:
        sent = message()
        reply, transaction, in_doubt = await Recorder(sent).run(hop)
    assert reply == SmtpReply(code=421, enhanced="4.7.28", text="unusual rate", verb=Verb.RCPT)
    assert (transaction, in_doubt) == (sent, False)


async def test_an_endless_reply_is_cut_off() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("PIPELINING")
        await dialogue.envelope()
        await dialogue.say(*["250-x"] * 10_000, "250 x")
        await dialogue.closed()

    async with peer(script) as hop:
        reply, transaction, in_doubt = await Recorder(message()).run(hop)
    assert "100 lines" in reply.text
    assert (transaction is not None, in_doubt) == (True, False)


async def test_close_after_quit_without_an_answer_is_no_fault() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet()
        assert await dialogue.hear() == "QUIT"

    async with peer(script) as hop:
        reply, transaction, in_doubt = await Recorder().run(hop)
    assert (reply.verb, transaction, in_doubt) == (Verb.QUIT, None, False)


async def test_quit_is_bounded() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet()
        await dialogue.closed()

    async with peer(script) as hop:
        reply, _, _ = await Recorder().run(hop, limits=timeouts(quit=0.05))
    assert reply.text == "no answer to QUIT within 0.05 s"


async def test_quit_during_a_transaction_waits_for_its_end() -> None:
    async with peer(take_all) as hop:
        owner = Recorder(message(), message())
        owner.on_before_dot = lambda connection: connection.quit()
        reply, transaction, _ = await owner.run(hop)
    assert owner.names() == ["ready", "before_dot", "settled", "closed"]
    assert (reply.code, transaction) == (221, None)


async def test_a_final_dot_waits_until_its_owner_lets_it_go() -> None:
    async with peer(take_all) as hop:
        owner = Recorder(message())
        owner.holds_dot = True

        def let_go(connection: Connection) -> None:
            assert connection.at_dot
            assert not connection.past_dot
            connection.end()

        owner.on_before_dot = lambda connection: asyncio.get_running_loop().call_soon(let_go, connection)
        await owner.run(hop)
    assert owner.names() == ["ready", "before_dot", "settled", "ready", "closed"]
    assert ("settled", [250]) in owner.events


async def test_abort_closes_at_once_and_knows_whether_the_dot_was_out() -> None:
    heard = asyncio.Event()

    async def script(dialogue: Dialogue) -> None:
        await at_dot(dialogue)
        heard.set()
        await dialogue.closed()

    async with peer(script) as hop:
        sent = message()
        owner = Recorder(sent)
        async with asyncio.timeout(10):
            connection = await connect([hop], SOURCE, timeouts(), owner)
            await heard.wait()
            assert connection.past_dot
            connection.abort()
            reply, transaction, in_doubt = await owner.end
    assert (reply.code, reply.local, transaction, in_doubt) == (0, True, sent, True)


async def test_an_idle_connection_that_the_peer_closes_is_told() -> None:
    idle = asyncio.Event()

    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet()
        await idle.wait()
        await dialogue.say("421 4.4.2 idle")

    async with peer(script) as hop:
        owner = Recorder()
        owner.quit_when_done = False
        async with asyncio.timeout(10):
            await connect([hop], SOURCE, timeouts(), owner)
            idle.set()
            reply, transaction, in_doubt = await owner.end
    assert (reply.code, transaction, in_doubt) == (421, None, False)


async def test_local_refusals_settle_one_after_the_other_without_recursion() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("PIPELINING")
        assert await dialogue.hear() == "QUIT"
        await dialogue.say("221 bye")

    async with peer(script) as hop:
        owner = Recorder(*[message(eightbit=True)] * 2000)
        await owner.run(hop)
    assert owner.events.count(("settled", [554])) == 2000
    assert owner.replies[0].local


async def test_a_fault_of_the_owner_breaks_the_connection_and_sends_no_dot(caplog: pytest.LogCaptureFixture) -> None:
    rest: list[bytes] = []

    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet("PIPELINING")
        await dialogue.accept(await dialogue.envelope())
        rest.append(await dialogue.reader.read())

    def fault(connection: Connection) -> None:
        raise OSError("no space for the mark")

    async with peer(script) as hop:
        owner = Recorder(message())
        owner.on_before_dot = fault
        reply, transaction, in_doubt = await owner.run(hop)
    assert (reply.text, transaction is not None, in_doubt) == ("internal error", True, False)
    assert rest in ([b""], [])  # end of stream, or a reset
    assert "no space for the mark" in caplog.text


async def test_a_second_message_meanwhile_is_refused_loudly() -> None:
    async with peer(take_all) as hop:
        owner = Recorder(message())

        def overtake(connection: Connection) -> None:
            with pytest.raises(RuntimeError, match="under way"):
                connection.send(message())

        owner.on_before_dot = overtake
        await owner.run(hop)
    assert ("settled", [250]) in owner.events


# -- how connections come about --------------------------------------------------------------------------------------


async def refuse(dialogue: Dialogue) -> None:
    await dialogue.say("554 5.7.1 not you")
    await dialogue.closed()


async def dead_end() -> Hop:
    """A port of loopback where nobody listens."""
    return Hop("dead.example", ip_address("127.0.0.1"), free_port())


async def test_the_next_hop_is_taken_when_one_fails() -> None:
    async with peer(refuse) as refusing, peer(take_all) as good:
        owner = Recorder(message())
        await owner.run(await dead_end(), refusing, good)
        assert owner.connection is not None
        assert owner.connection.remote == f"127.0.0.1:{good.port}"
    assert owner.names() == ["ready", "before_dot", "settled", "ready", "closed"]


async def test_a_reply_is_told_rather_than_a_network_error() -> None:
    async with peer(refuse) as refusing:
        with pytest.raises(ConnectFailed) as failed:
            await Recorder().run(await dead_end(), refusing, await dead_end())
    assert failed.value.reply == SmtpReply(code=554, enhanced="5.7.1", text="not you", verb=Verb.CONNECT)
    assert failed.value.hop == refusing


async def test_a_refused_connection_says_where() -> None:
    hop = await dead_end()
    with pytest.raises(ConnectFailed) as failed:
        await Recorder().run(hop)
    reply = failed.value.reply
    assert (reply.code, reply.enhanced, reply.verb, reply.local) == (0, "4.4.1", Verb.CONNECT, True)
    assert reply.text == f"dead.example[127.0.0.1]:{hop.port}: Connection refused"


@pytest.mark.parametrize(("name", "step"), [("greeting", None), ("ehlo", at_greeting)])
async def test_a_silent_handshake_is_given_up(name: str, step: Callable[[Dialogue], Awaitable[None]] | None) -> None:
    async def script(dialogue: Dialogue) -> None:
        if step is not None:
            await step(dialogue)
        await dialogue.closed()

    async with peer(script) as hop:
        with pytest.raises(ConnectFailed) as failed:
            await Recorder().run(hop, limits=timeouts(**{name: 0.05}))
    assert failed.value.reply.text in ("no greeting within 0.05 s", "no answer to EHLO within 0.05 s")
    assert failed.value.reply.verb is (Verb.EHLO if step else Verb.CONNECT)


async def test_a_peer_that_takes_no_connection_is_given_up_in_time() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for sock in (first, second):  # the backlog is full now
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                sock.connect(full.getsockname())
        hop = Hop("full.example", ip_address("127.0.0.1"), full.getsockname()[1])
        with pytest.raises(ConnectFailed, match=r"no connection within 0\.1 s"):
            await Recorder().run(hop, limits=timeouts(connect=0.1, greeting=0.1))


async def test_the_peer_sees_the_virtual_mtas_address_and_name() -> None:
    seen: list[tuple[str, str]] = []

    async def script(dialogue: Dialogue) -> None:
        await dialogue.say("220 peer")
        seen.append((dialogue.writer.get_extra_info("peername")[0], await dialogue.hear()))
        await dialogue.say("250 peer")
        await dialogue.hear()

    source = Source(
        vmta=VmtaName("a2"), address=IPv4Address("127.0.0.77"), address6=IPv6Address("::1"), ehlo="a2.example"
    )
    async with peer(script) as v4, peer(script, "::1") as v6:
        await Recorder().run(v4, source=source)
        owner = Recorder()
        await owner.run(v6, source=source)
        assert owner.connection is not None
        assert owner.connection.remote == f"[::1]:{v6.port}"
    assert seen == [("127.0.0.77", "EHLO a2.example"), ("::1", "EHLO a2.example")]


async def test_an_address_that_the_host_lacks_never_falls_back() -> None:
    connected = False

    async def script(dialogue: Dialogue) -> None:
        nonlocal connected
        connected = True

    source = Source(vmta=VmtaName("a3"), address=IPv4Address("192.0.2.77"), address6=None, ehlo="a3.example")
    async with peer(script) as hop:
        with pytest.raises(AddressNotOnHost) as failed:
            await Recorder().run(hop, hop, source=source)
    assert str(failed.value.address) == "192.0.2.77"
    assert failed.value.reply.text.startswith("192.0.2.77: not an address of this host")
    assert not connected


async def test_exhausted_local_ports_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    async def exhausted(*args: object) -> None:
        raise OSError(99, "Cannot assign requested address")

    async with peer(take_all) as hop:
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", exhausted, raising=False)
        with pytest.raises(AddressesExhausted):
            await Recorder().run(hop)


async def test_a_hop_of_a_family_that_the_source_lacks_is_not_connected() -> None:
    source = Source(vmta=VmtaName("a1"), address=SOURCE.address, address6=None, ehlo="a1.example")
    with pytest.raises(ConnectFailed, match="no IPv6 address"):
        await Recorder().run(Hop("six.example", ip_address("::1"), 25), source=source)


async def test_nothing_is_sent_with_a_bad_ehlo_name() -> None:
    source = Source(vmta=VmtaName("a1"), address=SOURCE.address, address6=None, ehlo="a\r\nRSET")
    with pytest.raises(ValueError, match="EHLO name"):
        await Recorder().run(await dead_end(), source=source)


async def test_cancelling_a_connect_leaves_no_connection() -> None:
    closed = asyncio.Event()
    heard = asyncio.Event()

    async def script(dialogue: Dialogue) -> None:
        heard.set()
        await dialogue.closed()
        closed.set()

    async with peer(script) as hop:
        task = asyncio.ensure_future(connect([hop], SOURCE, timeouts(), Recorder()))
        async with asyncio.timeout(10):
            await heard.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
