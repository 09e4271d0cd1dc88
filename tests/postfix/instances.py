"""Real Postfix instances for tests, on loopback, each in a directory of its own: its mail stays deferred unless the
test sends it somewhere."""

import os
import smtplib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mailagent.config.postfix import Postfix
from mailagent.postfix.listing import Entry, parse
from tests.conftest import program
from tests.integration.postfix import postfix
from tests.integration.processes import free_port, wait_until

STOPPED = 1
"""Port of an instance that does not run."""


@dataclass(frozen=True)
class OwnPostfix:
    """A running instance. `nowhere` is a port of 127.0.0.1 where nobody listens: the next hop of all mail.

    `prefix` stands before its programs where they run in a place apart.
    """

    directory: Path
    port: int
    nowhere: int
    prefix: tuple[str, ...] = ()

    @property
    def config_dir(self) -> Path:
        return self.directory / "etc"

    @property
    def queue_dir(self) -> Path:
        return self.directory / "queue"

    @property
    def log(self) -> Path:
        return self.directory / "log" / "mail.log"

    @property
    def config(self) -> Postfix:
        """The `postfix` section of an agent in front of it."""
        return Postfix(instance=str(self.config_dir))

    def run(self, name: str, *arguments: str, stdin: str = "") -> str:
        """What one of Postfix's programs said."""
        command = [*self.prefix, str(program(name)), "-c", str(self.config_dir), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, input=stdin).stdout

    def age(self) -> None:
        """Let its files be older than a second: Postfix's programs wait until they are."""
        for name in ("main.cf", "master.cf"):
            os.utime(self.config_dir / name, (0, 0))

    def set(self, **settings: str) -> None:
        """Change main.cf, and reload."""
        self.run("postconf", "-e", *(f"{name}={value}" for name, value in settings.items()))
        self.run("postfix", "reload")

    def send(self, sender: str, recipients: Sequence[str], *, subject: str = "test", count: int = 1) -> list[str]:
        """Hand in `count` messages by SMTP: their queue ids, as the server says them."""
        ids = []
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
            client.ehlo("client.example.test")
            for n in range(count):
                client.mail(sender)
                for recipient in recipients:
                    code, said = client.rcpt(recipient)
                    assert code == 250, said
                text = f"From: {sender}\r\nSubject: {subject}\r\nMessage-ID: <{subject}.{n}@client.example.test>\r\n"
                code, said = client.data(f"{text}\r\ntext\r\n")
                assert code == 250, said
                ids.append(said.decode().rpartition(" ")[2])
        return ids

    def queue(self) -> dict[str, Entry]:
        """The listing, by queue id."""
        entries = [parse(line.encode()) for line in self.run("postqueue", "-j").splitlines()]
        return {entry.queue_id: entry for entry in entries}

    def settle(self, queue_name: str, count: int) -> dict[str, Entry]:
        """Wait until exactly `count` messages are in a folder and none on its way: the listing."""
        found: dict[str, Entry] = {}

        def there() -> bool:
            found.clear()
            found.update(self.queue())
            return sum(one.queue_name == queue_name for one in found.values()) == count and not any(
                one.queue_name in ("maildrop", "incoming", "active") for one in found.values()
            )

        wait_until(there, f"{count} in {queue_name}")
        return found


@contextmanager
def own_postfix(
    directory: Path, settings: Mapping[str, str] | None = None, *, master: str = ""
) -> Iterator[OwnPostfix]:
    """A Postfix in `directory`, with `settings` over those that every test has; `master` is added to master.cf."""
    port, nowhere = free_port(), free_port()
    base = {
        "relayhost": f"[127.0.0.1]:{nowhere}",  # refuses the connection: mail waits in `deferred`
        "enable_long_queue_ids": "yes",
        "minimal_backoff_time": "1h",  # nothing moves but what the test moves
        "maximal_backoff_time": "2h",
        "smtp_connect_timeout": "5s",
        **(settings or {}),
    }
    with postfix(directory, port, base, master=master):
        yield OwnPostfix(directory, port, nowhere)
