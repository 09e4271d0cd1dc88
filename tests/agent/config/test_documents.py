"""The example loads, and the page about the file has every key with its default."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from mailagent.api.ids import HostName, StreamName, VmtaName
from mailagent.config import (
    accounting,
    alerts,
    automation,
    classification,
    dsn,
    dump_agent,
    feedback,
    host_part,
    load_agent,
    load_fleet,
    metrics,
    postfix,
    reputation,
    streams,
    structs,
    suppression,
    thresholds,
    warm_up,
)
from mailagent.config.dkim import Dkim, DkimKey
from mailagent.config.events import EventSink
from mailagent.config.nodes import Mapping, compose
from mailagent.config.providers import shipped_providers
from mailagent.config.scalars import format_duration
from mailagent.config.tls import MtaSts, Tls, TlsReports

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/fleet-file.md").read_text(encoding="utf-8")
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "`hosts.NAME`": structs.FleetHost,
    "`ssh`": structs.Ssh,
    "`rpc`": structs.Rpc,
    "`intake`": structs.Intake,
    "`intake.listeners`": structs.Listener,
    "`virtual_mtas.NAME`": structs.VirtualMta,
    "`postfix`": postfix.Postfix,
    "`metrics`": metrics.Metrics,
    "`log`": structs.Log,
    "`pools.NAME`": structs.Pool,
    "`streams.NAME`": structs.Stream,
    "`routes`": structs.Route,
    "`providers.NAME`": structs.Provider,
    "`providers.NAME.rules.RULE`": automation.Rule,
    "`domains.NAME`": structs.Domain,
    "`automation`": automation.Automation,
    "`reputation`": reputation.Reputation,
    "`reputation.block_lists.ZONE`": reputation.BlockList,
    "`reputation.identity`": reputation.Identity,
    "`warm_up`": warm_up.WarmUp,
    "`warm_up.providers.NAME`": warm_up.CourseEnds,
    "`pools.NAME.warm_up`": warm_up.PoolWarmUp,
    "`dns`": structs.Dns,
    "`delivery`": structs.Delivery,
    "`delivery.timeouts`": structs.Timeouts,
    "`routes.auth`": structs.RouteAuth,
    "`tls`": Tls,
    "`tls.mta_sts`": MtaSts,
    "`tls.reports`": TlsReports,
    "`streams.NAME.checks`": streams.Checks,
    "`streams.NAME.protect`": streams.Protection,
    "`retry`": structs.Retry,
    "`queue`": structs.QueueLimits,
    "`dkim`": Dkim,
    "`dkim.keys`": DkimKey,
    "`accounting`": accounting.Accounting,
    "`events`": EventSink,
    "`accounting.csv`": accounting.AccountingCsv,
    "`classification`": classification.Classification,
    "`dsn`": dsn.Dsn,
    "`feedback`": feedback.Feedback,
    "`streams.NAME.bounces`": feedback.Bounces,
    "`suppression`": suppression.SuppressionList,
    "`suppression.keep`": suppression.Keep,
    "`suppression.soft`": suppression.SoftBounces,
    "`suppression.incident`": suppression.Incident,
    "`thresholds`": thresholds.Thresholds,
    "`alerts`": alerts.Alerts,
    "`alerts.receivers.NAME`": alerts.Receiver,
    "`alerts.receivers.NAME.webhook`": alerts.Webhook,
    "`alerts.receivers.NAME.command`": alerts.AlertCommand,
    "`alerts.receivers.NAME.mail`": alerts.AlertMail,
    "`alerts.receivers.NAME.mail.account`": alerts.RelayAccount,
    "`alerts.receivers.NAME.syslog`": alerts.Syslog,
    "`alerts.routes`": alerts.AlertRoute,
    "`alerts.routes.escalate`": alerts.Escalation,
    "Top level of `fleet.yaml`": structs.FleetConfig,
}
WITHOUT_TABLE = {"ByteRate", "Certificate", "Endpoint", "Rate"}  # written in one line
WITHOUT_TABLE |= {f"{name}Limits" for name in ("Age", "Count", "Rate", "Share", "Space", "Wait")}
EXAMPLE = (ROOT / "fleet.yaml.example").read_text(encoding="utf-8")
UNWRITTEN = {"no_config"}  # `config: none` in the file


def table_of(heading: str) -> dict[str, str]:
    """Key and default of each row under a heading of the page."""
    section = re.split(r"^##+ ", PAGE.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", section, flags=re.MULTILINE))


def written(field: msgspec.structs.FieldInfo) -> str:
    """The default as the page writes it."""
    if field.required:
        return "required"
    value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    if value in (None, "", (), {}):
        return "none"
    if isinstance(value, thresholds.Limits):
        return f"`{word({key: own for key, own in msgspec.structs.asdict(value).items() if own}, field.name)}`"
    if isinstance(value, msgspec.Struct) and not isinstance(value, structs.Rate):
        return "see below"
    return f"`{word(value, field.name)}`"


def word(value: object, key: str) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(word(item, key) for item in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {word(item, name)}' for name, item in value.items())}}}"
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, int) and key.endswith("_bytes"):
        return f"{value // 1024**2}M"
    return str(value).lower() if isinstance(value, bool) else str(value)


def structs_of(kind: Any) -> set[type[msgspec.Struct]]:
    """The structs that a value of type `kind` is made of."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = get_type_hints(kind)
        below = (structs_of(hints[field.name]) for field in msgspec.structs.fields(kind))
        return {kind, *(one for found in below for one in found)}
    return {one for part in get_args(kind) for one in structs_of(part)}


def test_no_section_is_without_a_table() -> None:
    assert {one.__name__ for one in structs_of(structs.FleetConfig) - set(SECTIONS.values())} == WITHOUT_TABLE


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_example_shows_every_key(heading: str) -> None:
    """A key stands there in use, or commented out."""
    keys = {field.name for field in msgspec.structs.fields(SECTIONS[heading])} - UNWRITTEN
    assert {key for key in keys if not re.search(rf"\b{key}:", EXAMPLE)} == set()


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_page_has_every_key_with_its_default(heading: str) -> None:
    fields = [field for field in msgspec.structs.fields(SECTIONS[heading]) if field.name not in UNWRITTEN]
    assert table_of(heading) == {field.name: written(field) for field in fields}


def test_the_page_names_the_shipped_providers() -> None:
    listed = re.search(r"Shipped are ([^(]+)\(", PAGE)
    assert listed
    assert re.split(r",\s+|\s+and\s+", listed[1].strip()) == list(shipped_providers())


def test_the_example_loads_and_each_host_can_load_its_part(tmp_path: Path) -> None:
    fleet = load_fleet(ROOT / "fleet.yaml.example")
    for host in fleet.hosts:
        path = tmp_path / f"{host}.yaml"
        path.write_text(dump_agent(host_part(fleet, host)))
        assert load_agent(path).host == host


def test_the_example_says_what_the_usual_powermta_snippets_say() -> None:
    """Each directive in one key: domain block, pool members, source host, dkim-sign."""
    fleet = load_fleet(ROOT / "fleet.yaml.example")
    gmail = fleet.domains["gmail.com"]
    assert (gmail.rollup, gmail.connections, str(gmail.rate)) == ("gmail.com", 8, "300/h")
    assert gmail.retry is not None
    assert gmail.retry.waits == (timedelta(minutes=15),)
    assert fleet.streams[StreamName("campaigns")].pools == {"gmail.com": "gmail-pool"}
    assert {name: pool.active for name, pool in fleet.pools.items() if name.endswith("-pool")} == {
        "transactional-pool": ("trans-ip-1", "trans-ip-2"),
        "marketing-pool": ("mkt-ip-1", "mkt-ip-2", "mkt-ip-3"),
        "cold-pool": ("cold-ip-1",),
        "gmail-pool": ("gmail-ip-1",),
    }
    source = fleet.hosts[HostName("mx1")].virtual_mtas[VmtaName("mkt-ip-1")]
    assert (str(source.address), source.ehlo) == ("10.0.0.50", "mail1.yourdomain.example")
    (key,) = [key for key in fleet.dkim.keys if key.pool == "marketing-pool"]
    assert (key.domain, key.selector, key.file.name) == ("yourdomain.example", "mkt1", "yourdomain.private")
    assert key.headers == ("From", "To", "Subject", "Date", "Message-ID", "Content-Type")


def test_the_example_has_every_section() -> None:
    root = compose((ROOT / "fleet.yaml.example").read_text(), "fleet.yaml.example", [])
    assert isinstance(root, Mapping)
    assert set(root.entries) == set(structs.FleetConfig.__struct_fields__)
