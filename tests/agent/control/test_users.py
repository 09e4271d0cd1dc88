"""Users after a verb whose end nobody heard."""

from collections.abc import Callable

import pytest

from mailagent.api import credentials, requests
from mailagent.api.credentials import RevokeCredential, RotateCredential, Scope
from mailagent.api.errors import InvalidRequest, Unavailable
from mailagent.api.ids import OpId
from mailagent.api.operations import OperationResult, Result
from mailagent.control.change import Change, Situation
from mailagent.control.effects import Caller
from mailagent.control.state import host_state
from mailagent.control.users import UserVerbs
from mailagent.intake.users import Users
from mailagent.spool.records import Credential, CredentialUse, Secret
from tests.agent.control.bench import ALICE
from tests.agent.control.fleet import CONFIG, T0


class Slow:
    """A ledger that writes what it is told, and whose first answer does not come."""

    def __init__(self, *rows: Credential) -> None:
        self.rows = {one.user: one for one in rows}
        self.done: dict[str, OperationResult] = {}
        self.silent = True

    async def execute(
        self, verb: str, request: requests.Mutation, caller: Caller, plan: Callable[[Situation], Change]
    ) -> OperationResult:
        if request.op_id not in self.done:
            change = plan(Situation(CONFIG, host_state(CONFIG, ()), caller.user, T0, None))
            result = Result.NOTHING_TO_DO if change.is_nothing else Result.APPLIED
            self.done[request.op_id] = OperationResult(op_id=request.op_id, result=result, detail=change.detail)
            if change.credential is not None:
                self.rows[change.credential.user] = change.credential
            if self.silent:
                self.silent = False
                raise Unavailable("no answer in time")
        return self.done[request.op_id]

    async def stored(self) -> list[tuple[Credential, CredentialUse]]:
        return [(one, CredentialUse(one.user, 0, "")) for one in self.rows.values()]


@pytest.mark.parametrize("again", ["op-1", "op-2"], ids=["the same request", "another one"])
async def test_a_revoked_user_is_out_although_the_ledger_was_slow(again: str) -> None:
    secret = Secret(digest=credentials.digest("x"))
    shop = Credential(user="shop", scope=Scope(), created_at=0, created_by="alice", secrets=(secret,))
    ledger = Slow(shop)
    users = Users(await ledger.stored())
    verbs = UserVerbs(users, ledger, ledger.stored)
    revoke = verbs.verbs["credential_revoke"]
    with pytest.raises(Unavailable):
        await revoke(RevokeCredential(op_id=OpId("op-1"), user="shop"), ALICE)
    await revoke(RevokeCredential(op_id=OpId(again), user="shop"), ALICE)
    user = users.get("shop")
    assert user is not None
    assert not user.is_good()
    users.close()


async def test_an_overlap_that_is_too_long_is_refused_in_the_words_of_the_command() -> None:
    ledger = Slow()
    users = Users(())
    rotate = UserVerbs(users, ledger, ledger.stored).verbs["credential_rotate"]
    request = RotateCredential(op_id=OpId("op-1"), user="shop", digest=credentials.digest("x"), overlap_s=91 * 86_400)
    with pytest.raises(InvalidRequest, match=r"good for 90d more at most \(--overlap\), not for 91d"):
        await rotate(request, ALICE)
    users.close()
