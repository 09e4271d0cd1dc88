"""What `postconf` says of an instance: where it lives, what it can, and the bounds it has."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from mailagent.config.postfix import Postfix
from mailagent.postfix.commands import Programs, run
from mailagent.postfix.errors import InstanceUnusable, PostfixError
from mailagent.postfix.log.filters import content_filters

log = logging.getLogger(__name__)

OLDEST: Final = (3, 5)
"""First version with everything that seeing and the queue verbs need (`postsuper -f`, `forced_expire`)."""
ACTIVE_ALARM: Final = 50_000
ACTIVE_ALARM_SHARE: Final = 0.8
SIZE_FACTOR: Final = 1.5
"""smtpd wants so much room for a message of the greatest size (smtpd(8), queue_minfree)."""
DEFAULT_LOG: Final = "/var/log/mail.log"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_ASKED: Final = (
    "mail_version", "config_directory", "queue_directory", "data_directory", "multi_instance_name", "myhostname",
    "syslog_name", "maillog_file", "enable_long_queue_ids", "qmgr_message_active_limit", "minimal_backoff_time",
    "maximal_backoff_time", "queue_run_delay", "maximal_queue_lifetime", "bounce_queue_lifetime", "mail_owner",
    "queue_minfree", "message_size_limit", "content_filter", "inet_protocols",
    "syslog_facility",
)  # fmt: skip


class Capability(StrEnum):
    """What depends on the version."""

    QUEUE = "queue"  # see the queue, and the verbs on its mail: 3.5
    VIRTUAL_MTAS = "virtual_mtas"  # smtp_bind_address_enforce, without which mail leaves from another address: 3.7


_SINCE: Final = {Capability.QUEUE: (3, 5), Capability.VIRTUAL_MTAS: (3, 7)}


@dataclass(frozen=True, slots=True)
class Instance:
    """One Postfix instance. Paths are as its own programs see them."""

    name: str  # of postmulti; `-` is the default one
    version_text: str  # as it says: 3.7.11, 3.9-20240115
    config_dir: str
    queue_dir: str
    data_dir: str
    hostname: str
    syslog_name: str
    log_file: str  # maillog_file; empty: syslog
    long_ids: bool
    active_limit: int  # messages in the active queue
    lifetime_s: int  # after which a message is bounced
    bounce_lifetime_s: int  # the same of a notification
    kept_free: int  # bytes on the disk of the queue; with no more, smtpd refuses mail
    settings: Mapping[str, str]  # everything that was asked, as text
    filters: tuple[str, ...] = ()  # content filters, as `transport:nexthop`
    log_names: frozenset[str] = frozenset()  # that services of master.cf log under in place of syslog_name

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor."""
        return version_of(self.version_text)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this version can."""
        return frozenset(one for one, since in _SINCE.items() if self.version >= since)

    def why_not(self, capability: Capability) -> str:
        """Why this version cannot do it; empty when it can."""
        if capability in self.capabilities:
            return ""
        return f"this is Postfix {self.version_text}; it needs {'.'.join(map(str, _SINCE[capability]))}"

    def lifetime_of(self, sender: str) -> int:
        """Seconds that mail of `sender` may wait."""
        return self.lifetime_s if sender else self.bounce_lifetime_s

    @property
    def active_alarm(self) -> int:
        """Messages in the active queue from which the alarm stands."""
        return min(ACTIVE_ALARM, int(self.active_limit * ACTIVE_ALARM_SHARE))


def version_of(text: str) -> tuple[int, int]:
    """Major and minor of `3.7.11`; (0, 0) for what is no version."""
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def number(text: str, default: int) -> int:
    """A number of main.cf; `default` for what is none."""
    return int(text) if text.isdecimal() else default


def seconds(text: str, unit: str, default: int) -> int:
    """A time of main.cf: `5d`, `300s`, or a number of `unit`s; `default` for what is no time."""
    match = re.fullmatch(r"(\d+)([smhdw]?)", text)
    return int(match[1]) * _UNITS[match[2] or unit] if match else default


def parameters(text: str) -> dict[str, str]:
    """`name = value` lines of postconf; a value may go on in lines that begin with a blank."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line[:1].isspace() and name:
            found[name] = f"{found[name]} {line.strip()}".strip()
        elif "=" in line:
            name, _, value = line.partition("=")
            name = name.strip()
            found[name] = value.strip()
    return found


def instance_of(
    settings: Mapping[str, str], config_dir: str, overrides: Mapping[str, str] = MappingProxyType({})
) -> Instance:
    """The instance that these answers of postconf describe; `overrides` are those of master.cf (`postconf -P`).

    Raises:
        InstanceUnusable: it is older than OLDEST, or does not say what every Postfix says.
    """
    version = settings.get("mail_version", "")
    if version_of(version) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise InstanceUnusable(f"Postfix {version or 'of an unknown version'} is too old; {oldest} or newer is needed")
    if "queue_directory" not in settings:
        raise InstanceUnusable(f"postconf does not say where the queue of {config_dir or 'the default instance'} is")
    return Instance(
        name=settings.get("multi_instance_name", "") or "-",
        version_text=version,
        config_dir=config_dir or settings.get("config_directory", ""),
        queue_dir=settings["queue_directory"],
        data_dir=settings.get("data_directory", ""),
        hostname=settings.get("myhostname", ""),
        syslog_name=settings.get("syslog_name", ""),
        log_file=settings.get("maillog_file", ""),
        long_ids=settings.get("enable_long_queue_ids", "") == "yes",
        active_limit=number(settings.get("qmgr_message_active_limit", ""), 20_000),
        lifetime_s=seconds(settings.get("maximal_queue_lifetime", ""), "d", 5 * 86_400),
        bounce_lifetime_s=seconds(settings.get("bounce_queue_lifetime", ""), "d", 5 * 86_400),
        kept_free=max(
            number(settings.get("queue_minfree", ""), 0),
            int(number(settings.get("message_size_limit", ""), 10_240_000) * SIZE_FACTOR),
        ),
        settings=settings,
        filters=content_filters(settings.get("content_filter", ""), _by_service(overrides, "content_filter")),
        log_names=frozenset(_by_service(overrides, "syslog_name").values()),
    )


def _by_service(overrides: Mapping[str, str], parameter: str) -> dict[str, str]:
    """What services set in place of main.cf."""
    return {name: value for name, value in overrides.items() if name.endswith(f"/{parameter}")}


async def find_programs(config: Postfix) -> Programs:
    """The programs of the instance that the configuration names.

    The default one is named too: without `-c`, postfix(1) does to all instances of a machine what it is told.

    Raises:
        PostfixError: postmulti does not know the name, or cannot be run.
    """
    programs = Programs(config)
    if config.instance in ("", "-"):
        said = await programs.run("postconf", "-h", "config_directory")
        return programs.of(said.decode("utf-8", "replace").strip())
    if config.instance.startswith("/"):
        return programs.of(config.instance)
    listing = programs.other("postmulti", "-l", "-i", config.instance)
    try:
        said = await run(listing, timeout_s=programs.timeout_s)
    except PostfixError as exc:
        raise InstanceUnusable(
            f"postfix.instance: there is no instance {config.instance}, or the mail log says why: {exc}"
        ) from exc
    words = said.decode("utf-8", "replace").split()
    if len(words) < 4 or not words[3].startswith("/"):
        raise InstanceUnusable(f"postfix.instance: postmulti does not say where {config.instance} is configured")
    return programs.of(words[3])


async def read_instance(programs: Programs) -> Instance:
    """What the instance is now.

    Raises:
        PostfixError: postconf cannot be run, or the instance cannot be used.
    """
    said = await programs.run("postconf", "-x", *_ASKED)
    try:
        overrides = await programs.run("postconf", "-Px")
    except PostfixError as exc:  # what is seen of the queue needs no master.cf
        log.debug("services of Postfix are unknown: %s", exc)
        overrides = b""
    return instance_of(
        parameters(said.decode("utf-8", "replace")),
        programs.directory,
        parameters(overrides.decode("utf-8", "replace")),
    )
