"""Drain, rotate and suspend on a Postfix host: standing orders as everywhere, put into effect by maps.

The orders themselves are control's. Here they are refused by name where this Postfix cannot obey, and answered only
when the maps are in place, or with the reason why they are not.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from mailagent.api import requests, words
from mailagent.api.directives import DirectiveKind
from mailagent.api.errors import Refused
from mailagent.api.ids import VmtaName
from mailagent.api.operations import OperationResult, Result
from mailagent.api.targets import Target, TargetKind
from mailagent.config.structs import AgentConfig
from mailagent.control.verbs import Control
from mailagent.host import Act, Principal
from mailagent.postfix.allowed import APPLY
from mailagent.postfix.holding import is_site, why_not
from mailagent.postfix.instance import Capability, Instance
from mailagent.postfix.maps import Maps

EMULATED: Final = {
    "drain": "by maps; the active queue is routed anew by a reload, sessions that are open finish",
    "rotate": "by maps; the active queue is routed anew by a reload",
    "suspend": (
        "mail goes to a service that defers it: Postfix counts that as an attempt, and it still expires; a provider or"
        " site is covered in part, by the recipient domains seen so far, and new ones 10 s after their first mail"
    ),
    "resume": "mail that waited goes with its next try, at most maximal_backoff_time later; mailctl retry tries it now",
}
"""Verbs that Postfix has no means for of its own, a sentence each."""
_KINDS: Final = {
    "drain": DirectiveKind.DRAIN,
    "suspend": DirectiveKind.SUSPEND,
    "rotate": DirectiveKind.ROTATE,
}
_NEEDS_VMTAS: Final = (TargetKind.VMTA, TargetKind.POOL, TargetKind.STREAM, TargetKind.QUEUE, TargetKind.CELL)
_FOLLOWED: Final = ("drain", "undrain", "suspend", "resume", "rotate", "cancel", "edit", "undo")


class StandingOrders:
    """The verbs of control that change the maps."""

    def __init__(self, control: Control, maps: Maps, instance: Instance, config: Callable[[], AgentConfig]) -> None:
        self._control = control
        self._maps = maps
        self._instance = instance
        self._config = config

    @property
    def verbs(self) -> Mapping[str, Act]:
        """By the names of the method table."""
        return {name: self._followed(name) for name in _FOLLOWED}

    def _followed(self, verb: str) -> Act:
        act = self._control.verbs[verb]

        async def followed(request: requests.Mutation, caller: Principal) -> OperationResult:
            if not self._maps.ready or self._maps.obstacle:
                await self._maps.again()
            self._refuse(verb, request)
            result = await act(request, caller)
            if result.result is not Result.APPLIED:
                return result
            trouble = await self._maps.settled()
            if not trouble:
                return result
            return msgspec.structs.replace(result, warnings=(*result.warnings, trouble))

        return followed

    def _refuse(self, verb: str, request: requests.Mutation) -> None:
        """Raises: Refused."""
        kind, target = _KINDS.get(verb), getattr(request, "target", None)
        if kind is None or not isinstance(target, Target):
            return
        if target.kind is TargetKind.JOB:  # in no word of the verb: `suspend job:spring` and `job pause spring` are one
            raise Refused(f"{self._config().host} can do nothing about {target}: Postfix knows no jobs")
        reason = why_not(self._config(), self._control.state, kind, target)
        if isinstance(request, requests.Drain) and request.refuse:
            reason = "Postfix takes mail in by itself, and cannot refuse that of one pool"
        if not reason and target.kind in _NEEDS_VMTAS and not is_site(target):
            reason = self._instance.why_not(Capability.VIRTUAL_MTAS)
        if not reason and not self._maps.ready:
            reason = f"this Postfix is not set up for it: {APPLY}"
        reason = reason or self._maps.obstacle
        if not reason and isinstance(request, requests.Rotate):
            reason = next((self._missing(VmtaName(one)) for one in (target.name, request.standby) if one), "")
        if reason:
            raise Refused(f"{self._config().host} cannot {words.verb(verb, target)} {target}: {reason}")

    def _missing(self, vmta: VmtaName) -> str:
        if vmta in self._maps.vmtas or vmta not in self._config().virtual_mtas:
            return ""
        return f"Postfix has no service for virtual MTA {vmta} yet: {APPLY}"
