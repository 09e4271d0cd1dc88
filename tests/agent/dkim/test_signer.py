import asyncio
import threading
from typing import Any

import pytest

from mailagent.config.structs import Priority
from mailagent.dkim import signer as signer_module
from mailagent.dkim.signer import Signer
from tests.agent.dkim.material import SIMPLE, signing_key, verified


async def sign(signer: Signer, message: bytes = SIMPLE, priority: str = Priority.NORMAL) -> bytes | None:
    done: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
    signer.sign(message, [signing_key()], priority, done.set_result)
    return await done


async def test_many_messages_at_a_time_each_get_their_own_signature() -> None:
    signer = Signer(threads=2)
    messages = [SIMPLE + b"%d\r\n" % n for n in range(50)]
    fields = await asyncio.gather(*(sign(signer, message) for message in messages))
    assert all(
        verified((field or b"") + message, signing_key()) for field, message in zip(fields, messages, strict=True)
    )
    signer.close()


async def test_urgent_mail_is_signed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[bytes] = []
    begun, free = threading.Event(), threading.Event()

    def slowly(message: bytes, *_: Any, **__: Any) -> bytes:
        begun.set()
        free.wait(30)
        order.append(message)
        return b""

    monkeypatch.setattr(signer_module, "signatures", slowly)
    signer = Signer(threads=1)
    waiting = [asyncio.ensure_future(sign(signer, b"first", Priority.BULK))]
    await asyncio.sleep(0)
    assert await asyncio.to_thread(begun.wait, 30)
    waiting += [asyncio.ensure_future(sign(signer, name.encode(), name)) for name in ("bulk", "normal", "high")]
    await asyncio.sleep(0)
    free.set()
    await asyncio.gather(*waiting)
    assert order == [b"first", b"high", b"normal", b"bulk"]
    signer.close()


async def test_what_cannot_be_signed_is_answered_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> bytes:
        raise ValueError("no")

    monkeypatch.setattr(signer_module, "signatures", broken)
    signer = Signer(threads=1)
    assert await sign(signer) is None
    monkeypatch.undo()
    assert await sign(signer)  # the thread goes on
    signer.close()


async def test_a_full_line_and_a_closed_signer_answer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signer_module, "MAX_WAITING", 0)
    signer = Signer(threads=1)
    assert await sign(signer) is None
    signer.close()
