"""From one key to the next on a running agent, with a name server that has the records or not."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from mailagent.api.dkim import DkimProof, DkimSelector
from mailagent.api.errors import GuardRefused, InvalidRequest, NotFound, Refused
from tests.agent.dkim.material import key_file
from tests.integration.rig import POOLS, SOON, Rig, rig

SECTION = "dkim: {{keys: [{{domain: sender.example, pool: marketing, selector: mkt1, file: {folder}/mkt1.pem}}]}}\n"
TARGET = "dkim:sender.example/marketing"
NEWS = "From: News <news@sender.example>\r\n"


def text(folder: Path) -> str:
    key_file(folder, "mkt1.pem")
    return POOLS + SOON + SECTION.format(folder=folder)


async def rows(one: Rig) -> dict[str, DkimSelector]:
    found = await one.call("dkim")
    return {row.selector: row for row in found.rows}


async def states(one: Rig) -> dict[str, str]:
    return {name: str(row.state) for name, row in (await rows(one)).items()}


def publish(one: Rig, row: DkimSelector, record: str = "") -> None:
    record = record or row.record
    one.dns.add(row.name, "TXT", " ".join(f'"{record[at : at + 255]}"' for at in range(0, len(record), 255)))


async def prove(one: Rig, **fields: Any) -> DkimProof:
    from mailagent.api.targets import Target, TargetKind

    target = Target(kind=TargetKind.DKIM, name="sender.example/marketing")
    found: DkimProof = await one.call("dkim_prove", target=target, **fields)
    return found


async def selector_of(one: Rig, recipient: str) -> str:
    """The selector that signed a message sent now."""
    await one.accepted(recipient, headers=NEWS)
    await one.delivered(recipient)
    (mail,) = one.sink.attempts(recipient)
    return mail.data.split(b"; s=")[1].split(b";")[0].decode()


async def test_a_key_is_prepared_proven_switched_and_kept(tmp_path: Path) -> None:
    async with rig(tmp_path, text(tmp_path)) as one:
        assert await states(one) == {"mkt1": "active"}
        prepared = await one.do("dkim_prepare", TARGET)
        (new,) = set(await states(one)) - {"mkt1"}
        row = (await rows(one))[new]
        assert f'publish {new}._domainkey.sender.example. TXT "v=DKIM1; k=rsa; p=' in prepared.detail
        file = tmp_path / "state" / "dkim" / "sender.example" / f"{new}.pem"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert await selector_of(one, "first@one.example") == "mkt1"

        with pytest.raises(Refused, match=r"stays with mkt1: .* is not published"):
            await one.do("dkim_switch", TARGET)
        publish(one, row)
        assert (await prove(one)).proven
        switched = await one.do("dkim_switch", TARGET)
        assert f"signed with {new} from now on; mkt1 stays published until" in switched.detail
        assert await selector_of(one, "second@one.example") == new
        assert await states(one) == {"mkt1": "kept", new: "active"}
        kept = (await rows(one))["mkt1"].keep_until
        assert kept is not None
        assert kept - switched.directives[0].created_at == (await longest())

        await one.restart()
        assert await selector_of(one, "third@one.example") == new
        with pytest.raises(GuardRefused, match="may be on its way"):
            await one.do("dkim_retire", TARGET, selector="mkt1")
        await one.do("dkim_retire", TARGET, selector="mkt1", override=True)
        assert await states(one) == {"mkt1": "idle", new: "active"}


async def longest() -> Any:
    from datetime import timedelta

    return timedelta(days=4, hours=12) + timedelta(days=1)


async def test_undo_signs_with_the_old_key_again(tmp_path: Path) -> None:
    async with rig(tmp_path, text(tmp_path)) as one:
        await one.do("dkim_prepare", TARGET, selector="mkt2")
        publish(one, (await rows(one))["mkt2"])
        await one.do("dkim_switch", TARGET, selector="mkt2", op_id="switch")
        await one.call("undo", op_id="undo", undoes="switch")
        assert await states(one) == {"mkt1": "active", "mkt2": "prepared"}
        assert await selector_of(one, "back@one.example") == "mkt1"


async def test_an_ed25519_key_goes_its_own_way(tmp_path: Path) -> None:
    async with rig(tmp_path, text(tmp_path)) as one:
        await one.do("dkim_prepare", TARGET, selector="ed", algorithm="ed25519")
        publish(one, (await rows(one))["ed"])
        await one.do("dkim_switch", TARGET)
        assert await states(one) == {"mkt1": "active", "ed": "active"}
        await one.accepted("two@one.example", headers=NEWS)
        await one.delivered("two@one.example")
        assert one.sink.mails[-1].data.count(b"DKIM-Signature") == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda record: record.replace("p=MIIB", "p=MIIC"), "not the public half|accepted"),
        (lambda record: "v=DKIM1; k=rsa; p=", "revoked"),
        (lambda record: record + "; t=y", "testing"),
        (lambda record: record.replace("k=rsa", "k=ed25519"), "k=ed25519"),
        (lambda record: record + "; h=sha1", "does not allow sha256"),
        (lambda record: record + "; s=tlsrpt", "does not allow mail"),
        (lambda record: "p=x; " + record, "v= must be the first tag|stands twice"),
        (lambda record: "v=spf1 -all", "say DKIM1"),
    ],
)
async def test_a_record_that_verifiers_would_not_take_proves_nothing(tmp_path: Path, change: Any, why: str) -> None:
    async with rig(tmp_path, text(tmp_path)) as one:
        await one.do("dkim_prepare", TARGET, selector="mkt2")
        row = (await rows(one))["mkt2"]
        publish(one, row, change(row.record))
        proof = await prove(one, selector="mkt2")
        assert not proof.proven
        assert proof.records
        with pytest.raises(Refused, match=why):
            await one.do("dkim_switch", TARGET)


async def test_what_cannot_be_done_is_refused_with_a_reason(tmp_path: Path) -> None:
    async with rig(tmp_path, text(tmp_path)) as one:
        with pytest.raises(NotFound, match="has no prepared selector"):
            await one.do("dkim_switch", TARGET)
        with pytest.raises(NotFound, match="no pool nowhere"):
            await one.do("dkim_prepare", "dkim:sender.example/nowhere")
        with pytest.raises(InvalidRequest, match="none of rsa, ed25519"):
            await one.do("dkim_prepare", TARGET, algorithm="dsa")
        with pytest.raises(Refused, match="has a key already"):
            await one.do("dkim_prepare", TARGET, selector="mkt1")
        await one.do("dkim_prepare", "dkim:other.example/tx", selector="ed", algorithm="ed25519")
        with pytest.raises(Refused, match="beside an RSA key"):
            await one.do("dkim_switch", "dkim:other.example/tx")
        planned = await one.do("dkim_prepare", TARGET, dry_run=True)
        assert planned.result == "planned"
        assert await states(one) == {"mkt1": "active", "ed": "prepared"}
        assert not (tmp_path / "state" / "dkim" / "sender.example").exists()


async def test_mail_is_refused_when_its_key_is_lost(tmp_path: Path) -> None:
    async with rig(tmp_path, text(tmp_path)) as one:
        await one.do("dkim_prepare", TARGET, selector="mkt2")
        publish(one, (await rows(one))["mkt2"])
        await one.do("dkim_switch", TARGET)
        await one.stop()
        await asyncio.to_thread((tmp_path / "state/dkim/sender.example/mkt2.pem").unlink)
        await one.start()
        assert (await one.send("x@one.example", headers=NEWS)).startswith("451 4.7.5")
        assert (await rows(one))["mkt2"].problem
        one.configure(text(tmp_path).replace("dkim: {", "dkim: {required: false, "))
        await one.call("reload", op_id="r1")
        await one.accepted("y@one.example", headers=NEWS)


async def test_a_first_key_needs_nothing_in_the_file(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON) as one:
        await one.accepted("before@one.example", headers=NEWS)
        await one.delivered("before@one.example")
        assert b"DKIM-Signature" not in one.sink.mails[0].data
        with pytest.raises(InvalidRequest, match="small letters"):
            await one.do("dkim_prepare", "dkim:Sender.example/marketing")
        await one.do("dkim_prepare", TARGET, selector="first")
        publish(one, (await rows(one))["first"])
        await one.do("dkim_switch", TARGET)
        assert await selector_of(one, "after@one.example") == "first"
        await one.restart()
        assert await selector_of(one, "again@one.example") == "first"
