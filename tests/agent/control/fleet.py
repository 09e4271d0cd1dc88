"""One host's configuration and directives for the tests of control."""

from datetime import UTC, datetime, timedelta

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import DirectiveId, HostName, OpId, PoolName, ProviderName, StreamName, VmtaName
from mailagent.api.targets import Target, TargetKind
from mailagent.config.structs import AgentConfig, Pool, Provider, Stream, VirtualMta

T0 = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)

MARKETING, TRANSACTIONAL, COLD = PoolName("marketing"), PoolName("transactional"), PoolName("cold")
MKT_1, MKT_2, MKT_3 = VmtaName("mkt-1"), VmtaName("mkt-2"), VmtaName("mkt-3")
TX_1, TX_2, COLD_1 = VmtaName("tx-1"), VmtaName("tx-2"), VmtaName("cold-1")
GMAIL, NO_PROVIDER = ProviderName("gmail"), ProviderName("")
NEWS, RECEIPTS = StreamName("news"), StreamName("receipts")

CONFIG = AgentConfig(
    host=HostName("mx1"),
    virtual_mtas={name: VirtualMta() for name in (MKT_1, MKT_2, MKT_3, TX_1, TX_2, COLD_1)},
    pools={
        MARKETING: Pool(active=(MKT_1,), standby=(MKT_2, MKT_3)),
        TRANSACTIONAL: Pool(active=(TX_1, TX_2)),
        COLD: Pool(active=(COLD_1,)),
    },
    streams={NEWS: Stream(pool=MARKETING), RECEIPTS: Stream(pool=TRANSACTIONAL)},
    providers={GMAIL: Provider(mx=("google.com",)), ProviderName("default"): Provider()},
)


def target(text: str) -> Target:
    kind, _, name = text.partition(":")
    return Target(kind=TargetKind(kind), name=name)


def directive(
    kind: DirectiveKind,
    on: str,
    n: int = 1,
    *,
    standby: str = "",
    refuse: bool = False,
    limit: str = "",
    value: str = "",
    lives: timedelta | None = None,
) -> Directive:
    at = T0 + timedelta(seconds=n)
    return Directive(
        id=DirectiveId(f"op{n}-1"),
        kind=kind,
        target=target(on),
        author="alice",
        reason="gmail throttles",
        created_at=at,
        expires_at=at + lives if lives else None,
        op_id=OpId(f"op{n}"),
        standby=standby,
        refuse=refuse,
        limit=limit,
        value=value,
    )
