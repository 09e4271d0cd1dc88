"""Users of intake: verbs, logins from real clients, a Postfix that relays to us, and what the trail shows."""

import asyncio
import json
import smtplib
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from mailagent.api import credentials
from mailagent.api.credentials import Scope
from mailagent.api.errors import InvalidRequest, NotFound, Refused
from mailagent.api.operations import Result
from tests.certificates import Authority
from tests.integration.postfix import postfix
from tests.integration.processes import MAILAGENT, free_port
from tests.integration.rig import LATE, POOLS, Rig, rig

NOBODY = "192.0.2.0/24"
SECRET = "correct-horse-battery"
LOCAL = ", auth: local"


def letter(recipient: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@shop.example", recipient, "hello"
    message.set_content("world\n")
    return message


def log_in_and_send(port: int, user: str, secret: str, recipient: str, sender: str = "a@shop.example") -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as smtp:
        smtp.login(user, secret)
        smtp.send_message(letter(recipient), sender, [recipient])


async def create(one: Rig, user: str = "shop", secret: str = SECRET, **more: Any) -> None:
    done = await one.do("credential_create", user=user, digest=credentials.digest(secret), **more)
    assert done.result is Result.APPLIED


async def test_a_user_is_made_used_rotated_and_revoked(tmp_path: Path) -> None:
    async with rig(tmp_path, listener=LOCAL, relay_from=NOBODY) as one:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            await asyncio.to_thread(log_in_and_send, one.port, "shop", SECRET, "r0@a.example")
        await create(one, scope=Scope(streams=("tx",), senders=("shop.example",)))
        await asyncio.to_thread(log_in_and_send, one.port, "shop", SECRET, "r1@a.example")
        await one.delivered("r1@a.example")
        (mail,) = one.sink.mails
        assert b"with ESMTPA id" in mail.data
        assert mail.source == "127.0.2.1"  # its stream is tx, whatever the sender
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            await asyncio.to_thread(log_in_and_send, one.port, "shop", SECRET, "r@a.example", "a@other.example")
        assert refused.value.smtp_code == 550

        await one.do("credential_rotate", user="shop", digest=credentials.digest("second"), overlap_s=3600)
        await one.restart()
        for n, secret in enumerate((SECRET, "second"), 2):
            await asyncio.to_thread(log_in_and_send, one.port, "shop", secret, f"r{n}@a.example")
        (row,) = (await one.call("credentials")).rows
        assert row.user == "shop"
        assert row.old_secret_until is not None
        assert row.last_used_from == "127.0.0.1"

        await one.do("credential_revoke", user="shop")
        with pytest.raises(smtplib.SMTPAuthenticationError):
            await asyncio.to_thread(log_in_and_send, one.port, "shop", "second", "r@a.example")
        await one.restart()
        (row,) = (await one.call("credentials")).rows
        assert row.revoked_at is not None
        assert row.last_used_at is not None
        audit = (tmp_path / "state" / "audit.jsonl").read_text(encoding="utf-8")
        assert "credential_revoke" in audit
        assert SECRET not in audit + one.agent.log.read_text(encoding="utf-8")


async def test_verbs_on_users_are_idempotent_and_refuse_nonsense(tmp_path: Path) -> None:
    async with rig(tmp_path, listener=LOCAL) as one:
        digest = credentials.digest(SECRET)
        first = await one.do("credential_create", user="shop", digest=digest, op_id="one")
        assert await one.do("credential_create", user="shop", digest=digest, op_id="one") == first
        planned = await one.do("credential_create", user="new", digest=digest, dry_run=True)
        assert planned.result is Result.PLANNED
        assert [row.user for row in (await one.call("credentials")).rows] == ["shop"]
        with pytest.raises(Refused, match="exists"):
            await one.do("credential_create", user="shop", digest=digest)
        with pytest.raises(NotFound, match="did you mean shop"):
            await one.do("credential_revoke", user="shopp")
        for wrong in (
            {"user": "a b"},
            {"digest": SECRET},
            {"scope": Scope(streams=("nope",))},
            {"scope": Scope(senders=("a@b.example",))},
            {"scope": Scope(networks=("10.0.0.1/8",))},
            {"scope": Scope(rate="fast")},
        ):
            with pytest.raises(InvalidRequest):
                await one.do("credential_create", **dict[str, Any](user="other", digest=digest) | wrong)
        with pytest.raises(InvalidRequest, match="--overlap"):
            await one.do("credential_rotate", user="shop", digest=credentials.digest("x"), overlap_s=10**9)


async def test_the_command_line_prints_a_secret_once(tmp_path: Path) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        arguments = [*MAILAGENT, "credentials", *words, "--config", str(tmp_path / "agent.yaml")]
        return subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=30)

    async with rig(tmp_path, listener=LOCAL, relay_from=NOBODY) as one:
        made = await asyncio.to_thread(command, "create", "shop", "--stream", "tx", "--rate", "600/m", "--for", "90d")
        assert made.returncode == 0, made.stderr
        words = dict(line.split(maxsplit=1) for line in made.stdout.splitlines())
        await asyncio.to_thread(log_in_and_send, one.port, "shop", words["secret"], "r1@a.example")
        again = await asyncio.to_thread(command, "create", "shop")
        assert (again.returncode, again.stdout) == (4, "")
        listed = await asyncio.to_thread(command, "list", "--json")
        (row,) = json.loads(listed.stdout)["rows"]
        assert row["scope"]["streams"] == ["tx"]
        assert words["secret"] not in listed.stdout + (await asyncio.to_thread(command, "list")).stdout
        rotated = await asyncio.to_thread(command, "rotate", "shop", "--overlap", "1h")
        assert rotated.returncode == 0
        revoked = await asyncio.to_thread(command, "revoke", "shop")
        assert "may not log in any more" in revoked.stderr


@pytest.mark.needs("root", "postfix", "libplain.so")
async def test_a_real_postfix_relays_to_us_under_tls_with_its_credentials(tmp_path: Path) -> None:
    made = Authority(tmp_path).issue("mx1.example", "127.0.0.1")
    listener = f", tls: starttls, certificate: {{cert: {made.file}, key: {made.key}}}"
    (tmp_path / "agent").mkdir()
    async with rig(tmp_path / "agent", listener=listener, relay_from=NOBODY) as one:
        await create(one)
        port = free_port()
        settings = {
            "relayhost": f"[127.0.0.1]:{one.port}",
            "smtp_tls_security_level": "verify",
            "smtp_tls_verify_cert_match": "mx1.example",
            "smtp_tls_CAfile": str(tmp_path / "test-root.pem"),  # read before Postfix changes its user
            "smtp_sasl_auth_enable": "yes",
            "smtp_sasl_password_maps": f"inline:{{[127.0.0.1]:{one.port}=shop:{SECRET}}}",
            "smtp_sasl_security_options": "noanonymous",
            "smtp_sasl_mechanism_filter": "plain",
        }
        # not below pytest's own directory, which the next run of pytest closes to others
        with TemporaryDirectory() as directory, postfix(Path(directory) / "postfix", port, settings) as log:

            def submit() -> None:
                with smtplib.SMTP("127.0.0.1", port, timeout=20) as smtp:
                    smtp.sendmail(
                        "a@shop.example", ["r1@a.example"], b"Subject: x\r\n\r\nx\r\n",
                        ["RET=HDRS", "ENVID=E1"], ["NOTIFY=FAILURE", "ORCPT=rfc822;first@a.example"],
                    )  # fmt: skip

            await asyncio.to_thread(submit)
            try:
                await one.delivered("r1@a.example")
            except AssertionError:
                raise AssertionError(log.read_text(encoding="utf-8")) from None
        (mail,) = one.sink.mails
        assert b"with ESMTPSA id" in mail.data


async def test_dsn_parameters_and_user_are_kept_on_disk(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE, listener=LOCAL, relay_from=NOBODY) as one:
        await create(one)
        one.sink.refuse = lambda mail, recipient: b"450 4.2.0 later\r\n"

        def submit() -> None:
            with smtplib.SMTP("127.0.0.1", one.port, timeout=20) as smtp:
                smtp.login("shop", SECRET)
                smtp.sendmail("a@shop.example", ["r1@a.example"], b"Subject: x\r\n\r\nx\r\n", ["RET=HDRS", "ENVID=E1"])

        await asyncio.to_thread(submit)
        detail = await one.explained("r1@a.example", lambda detail: detail.summary.attempts == 1, "an attempt")
        assert (detail.user, detail.envid) == ("shop", "E1")


async def test_mailctl_makes_one_secret_for_the_fleet(tmp_path: Path) -> None:
    async with rig(tmp_path, listener=LOCAL, relay_from=NOBODY) as one:
        fleet = tmp_path / "fleet.yaml"
        socket = f"transport: local, rpc: {{socket: {one.agent.socket}}}"
        vmtas = "virtual_mtas: {mkt-1: {address: 127.0.1.1}}"
        fleet.write_text(f"hosts: {{mx1: {{{socket}, {vmtas}}}}}\npools: {{marketing: {{active: [mkt-1]}}}}\n")

        async def mailctl(*words: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-c", "from mailctl.cli import main; main()", "--fleet", str(fleet), *words]
            return await asyncio.to_thread(
                subprocess.run, command, check=False, capture_output=True, text=True, timeout=50
            )

        made = await mailctl("credentials", "create", "shop", "--stream", "tx", "--yes", "--json")
        assert made.returncode == 0, made.stderr
        secret = next(line.split()[-1] for line in made.stderr.splitlines() if "secret " in line)
        assert secret not in made.stdout
        operation = json.loads(made.stdout)["operation"]
        assert operation["results"][0]["result"] == "applied"
        assert operation["command"].startswith(f"mailctl --fleet {fleet} credentials create shop --stream tx --digest ")
        await asyncio.to_thread(log_in_and_send, one.port, "shop", secret, "r1@a.example")
        listed = await mailctl("credentials", "list", "--json")
        (row,) = json.loads(listed.stdout)["rows"]
        assert (row["user"], row["host"], row["last_used_from"]) == ("shop", "mx1", "127.0.0.1")
        assert "streams tx" in (await mailctl("credentials", "list")).stdout
        again = await mailctl("credentials", "create", "shop", "--yes")
        assert again.returncode == 4
        assert "store it now" not in again.stderr
        revoked = await mailctl("credentials", "revoke", "shop", "host:mx1", "--yes")
        assert revoked.returncode == 0
        assert (await mailctl("credentials", "revoke", "shop", "pool:marketing", "--yes")).returncode == 2
