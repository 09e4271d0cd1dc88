"""Questions of one round: each is asked once, and now."""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar, cast

from mailagent.dns import Address, AddressAnswer, Failed, Found, MxAnswer, PtrAnswer, TxtAnswer

_Answer = TypeVar("_Answer")


class Remembers(Protocol):
    """Who asks DNS, and remembers what it said; `mailagent.dns.Resolver` is one. `fresh`: asked now."""

    async def txt(self, name: str, *, fresh: bool = False) -> TxtAnswer:
        """The TXT records of `name`."""

    async def addresses(self, host: str, *, version: int, fresh: bool = False) -> AddressAnswer:
        """The addresses of `host`."""

    async def mx(self, domain: str, *, fresh: bool = False) -> MxAnswer:
        """The mail exchangers of `domain`."""

    async def names(self, address: Address, *, fresh: bool = False) -> PtrAnswer:
        """The names of `address`."""


MAX_QUESTIONS: Final = 10_000
"""Of one round; a record of somebody else could otherwise cause any number of them for each of our addresses."""


class Once:
    """The same, remembering what was said in this round alone; an answer that has expired is none."""

    def __init__(self, dns: Remembers) -> None:
        self._dns = dns
        self._answers: dict[tuple[object, ...], object] = {}
        self._asked = 0

    async def txt(self, name: str, *, fresh: bool = True) -> TxtAnswer:
        """The TXT records of `name`."""
        return await self._kept(("txt", name.lower()), lambda: self._dns.txt(name, fresh=fresh))

    async def addresses(self, host: str, *, version: int) -> AddressAnswer:
        """The addresses of `host`."""
        return await self._kept((version, host.lower()), lambda: self._dns.addresses(host, version=version, fresh=True))

    async def mx(self, domain: str) -> MxAnswer:
        """The mail exchangers of `domain`."""
        return await self._kept(("mx", domain.lower()), lambda: self._dns.mx(domain, fresh=True))

    async def names(self, address: Address) -> PtrAnswer:
        """The names of `address`."""
        return await self._kept(("ptr", address), lambda: self._dns.names(address, fresh=True))

    async def _kept(self, question: tuple[object, ...], ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        if question not in self._answers:
            self._asked += 1
            if self._asked > MAX_QUESTIONS:
                return cast(_Answer, Failed(f"more than {MAX_QUESTIONS:,} questions would be needed"))
            answer = await ask()
            is_old = isinstance(answer, Found) and answer.stale
            self._answers[question] = Failed("no answer; the last one has expired") if is_old else answer
        return cast(_Answer, self._answers[question])
