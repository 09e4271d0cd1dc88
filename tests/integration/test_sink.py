"""The tests' own receiver: what it leaves open is charged to a later test."""

import asyncio
import gc
import socket
import warnings

import pytest

from tests.integration.sink import Sink


@pytest.mark.parametrize("turns", range(4))
async def test_a_connection_that_comes_as_it_ends_is_closed(turns: int) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        async with Sink() as sink:
            clients = [socket.create_connection(("127.0.0.1", sink.port)) for _ in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
        for client in clients:
            client.close()
        gc.collect()
    assert [str(one.message) for one in caught] == []
