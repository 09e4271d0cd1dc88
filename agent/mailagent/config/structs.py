"""What the files say, as values: `fleet.yaml` (`FleetConfig`) and a host's own `agent.yaml` (`AgentConfig`).

A host's file is its entry of the fleet file lifted to the top level plus the shared sections (`Shared`), pools cut to
local members. Unknown keys are errors; the loader reports all of them at once with file, line and key.
"""

from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import msgspec

from mailagent.api.classification import Category
from mailagent.api.ids import HostName, PoolName, ProviderName, StreamName, VmtaName
from mailagent.api.methods import DEFAULT_SOCKET
from mailagent.api.requests import Role
from mailagent.config.accounting import Accounting
from mailagent.config.alerts import Alerts
from mailagent.config.automation import Automation, Rule
from mailagent.config.classification import Classification
from mailagent.config.dkim import Dkim
from mailagent.config.dsn import Dsn
from mailagent.config.endpoint import Endpoint as Endpoint
from mailagent.config.events import EventSink
from mailagent.config.feedback import Bounces, Feedback
from mailagent.config.intake import Certificate, ListenerAuth, ListenerKind, ListenerTls
from mailagent.config.metrics import Metrics
from mailagent.config.postfix import EngineKind, Postfix
from mailagent.config.rates import ByteRate as ByteRate
from mailagent.config.rates import Rate as Rate
from mailagent.config.reputation import Reputation
from mailagent.config.safety import Environment
from mailagent.config.streams import Checks, Protection, StreamKind
from mailagent.config.suppression import SuppressionList
from mailagent.config.thresholds import Thresholds
from mailagent.config.tls import Tls, TlsMode
from mailagent.config.warm_up import PoolWarmUp, WarmUp

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all configuration values."""


class Priority(StrEnum):
    """Class of a stream: which mail overtakes which in the active window."""

    HIGH = "high"
    NORMAL = "normal"
    BULK = "bulk"


class Listener(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One address and port where intake listens."""

    address: Address
    port: int
    tls: ListenerTls = ListenerTls.OFF
    auth: ListenerAuth = ListenerAuth.TLS
    certificate: Certificate | None = None  # None: that of the intake
    proxy_from: tuple[Network, ...] = ()  # balancers: their connections begin with a PROXY header
    kind: ListenerKind = ListenerKind.SUBMISSION


class Intake(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """SMTP in. Limits as in handbook/reliability 2.3."""

    listeners: tuple[Listener, ...] = ()
    certificate: Certificate | None = None  # of listeners with TLS that have none of their own
    relay_from: tuple[Network, ...] = ()
    hostname: str = ""  # in greeting and Received; empty: the name of the host
    max_message_bytes: int = 26_214_400
    max_recipients: int = 1000
    max_connections: int = 2000
    max_connections_per_client: int = 50  # networks in relay_from are exempt
    max_hops: int = 50
    timeout: timedelta = timedelta(seconds=300)
    ready: Endpoint | None = None  # where GET /ready answers; None: nowhere


class Rpc(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The agent's Unix socket and who may do what there."""

    socket: Path = Path(DEFAULT_SOCKET)
    backlog: int = 1024
    roles: dict[Role, tuple[str, ...]] = {}  # role -> Unix groups


class VirtualMta(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Source address(es) and EHLO name, and what may leave from there to all destinations together."""

    address: IPv4Address | None = None
    address6: IPv6Address | None = None
    public: str = ""  # address as the world sees it, behind NAT
    ehlo: str = ""  # empty: the name of the host
    weight: int = 1
    vmta_connections: int | None = None
    vmta_rate: Rate | None = None


POOL_LISTS = ("active", "standby", "warming", "quarantined", "retired")
"""The lists of a pool."""


class Pool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Virtual MTAs that share streams of mail. A name stands in one pool and one list only."""

    active: tuple[VmtaName, ...] = ()
    standby: tuple[VmtaName, ...] = ()
    warming: tuple[VmtaName, ...] = ()
    quarantined: tuple[VmtaName, ...] = ()
    retired: tuple[VmtaName, ...] = ()
    min_active: int | None = None  # members in the fleet that verbs on single ones must leave able to send; None: 1
    trickle: int | None = None  # recipients a day that each standby sends to each provider, to stay warm; None: none
    warm_up: PoolWarmUp | None = None  # what its warming members do otherwise than `warm_up` says

    @property
    def members(self) -> tuple[VmtaName, ...]:
        """All of them, active ones first."""
        return self.active + self.standby + self.warming + self.quarantined + self.retired


class Retry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Waits between attempts and the age at which mail expires."""

    waits: tuple[timedelta, ...] = tuple(timedelta(minutes=m) for m in (5, 10, 20, 40, 60, 120, 240))
    jitter: float = 0.15
    greylist: tuple[timedelta, ...] = (timedelta(minutes=6),)
    dns: tuple[timedelta, ...] = tuple(timedelta(minutes=m) for m in (1, 5, 15))
    classes: dict[Category, tuple[timedelta, ...]] = msgspec.field(  # waits after replies of one class
        default_factory=lambda: {Category.RECIPIENT_RATE: (timedelta(hours=1),)}
    )
    expire: timedelta = timedelta(days=4, hours=12)


class Stream(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of mail: how it is recognised, its pool and its priority."""

    pool: PoolName
    pools: dict[str, PoolName] = {}  # provider, rollup or domain with a block -> the pool for that destination
    priority: Priority = Priority.NORMAL
    senders: tuple[str, ...] = ()  # envelope-from patterns: `*@news.example.com`
    kind: StreamKind | None = None  # sets what the stream does not say itself
    latency: timedelta | None = None  # target from our 250 to the peer's
    isolation: str = ""  # group that shares pools and reputation with no other
    checks: Checks = Checks()
    protect: Protection = Protection()
    from_domains: tuple[str, ...] = ()  # of From, subdomains too; none: those of the pool's keys
    max_message_bytes: int | None = None  # None: that of the intake
    users: tuple[str, ...] = ()  # who authenticated
    headers: dict[str, tuple[str, ...]] = {}  # header name -> patterns of its value: `X-Stream: [news*]`
    retry: Retry | None = None  # None: the shared one
    bounces: Bounces | None = None  # None: the sender's own address is the return path


class SiteLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one virtual MTA may do towards one site; None: see who derives from it."""

    connections: int | None = None
    messages_per_connection: int | None = None
    recipients_per_connection: int | None = None
    recipients_per_transaction: int | None = None
    rate: Rate | None = None  # messages
    connect_rate: Rate | None = None  # new connections
    bytes_rate: ByteRate | None = None  # data volume


class RouteAuth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account at a smart host. Its secret is one line of a file that others cannot read."""

    user: str
    password_file: Path | None = None  # AUTH PLAIN, LOGIN or CRAM-MD5
    token_file: Path | None = None  # AUTH OAUTHBEARER or XOAUTH2; whoever renews the token replaces the file


class Route(SiteLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fixed next hop instead of an MX look-up, for recipient domains that match; 20 connections, no other limit."""

    match: str  # `*`, `example.com`, `*.example.com`
    to: Endpoint
    tls: TlsMode | None = None  # None: `tls.mode`
    auth: RouteAuth | None = None  # then TLS is verified, whatever `tls` says less


class Provider(SiteLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule over MX suffixes. Shipped ones (`providers.yaml`) are merged key by key under the file's own."""

    mx: tuple[str, ...] = ()  # MX suffixes; every MX host of a site must match one
    sites: dict[str, tuple[str, ...]] = {}  # names for exact sets of MX hosts
    provider_connections: int | None = None  # per virtual MTA × provider, over all sites
    provider_rate: Rate | None = None
    tls: TlsMode | None = None  # None: `tls.mode`
    retry: Retry | None = None
    rules: dict[str, Rule] = {}  # what automation does on replies; laid over the shipped ones rule by rule
    source: str = ""  # where the numbers come from, with date


ALONE = "off"
"""`rollup: off`: the domain leaves the MX rollup and counts under its own name."""


class Domain(SiteLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is special about one recipient domain. With a limit of its own, it counts apart from other domains."""

    rollup: str = ""  # name under which its limits are counted, with other domains of that name; `off`: alone
    queue_to: str = ""  # another domain, whose MX take this one's mail
    tls: TlsMode | None = None  # None: as the provider of its MX hosts
    retry: Retry | None = None

    def rollup_of(self, domain: str) -> str:
        """The named rollup of the block of `domain`; empty when it counts with all domains of the same MX hosts.

        A domain with a limit or a TLS level of its own counts alone, unless it names a rollup: in the common one it
        could not be told from its neighbours.
        """
        if self.rollup and self.rollup != ALONE:
            return self.rollup
        alone = self.rollup == ALONE or any(
            getattr(self, name) is not None for name in (*SiteLimits.__struct_fields__, "tls")
        )
        return domain.lower() if alone else ""


class Dns(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Resolvers; none: those of /etc/resolv.conf."""

    servers: tuple[Endpoint, ...] = ()
    timeout: timedelta = timedelta(seconds=5)
    validating: bool = False  # the servers are our own, on this host, and check DNSSEC: their word is taken for DANE


class Timeouts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Client time-outs (RFC 5321 section 4.5.3.2; connect and EHLO as Postfix)."""

    connect: timedelta = timedelta(seconds=30)
    greeting: timedelta = timedelta(seconds=60)
    ehlo: timedelta = timedelta(seconds=60)
    tls: timedelta = timedelta(seconds=60)  # the answer to STARTTLS, and the handshake
    mail: timedelta = timedelta(seconds=300)
    rcpt: timedelta = timedelta(seconds=300)
    data: timedelta = timedelta(seconds=120)
    block: timedelta = timedelta(seconds=180)
    dot: timedelta = timedelta(seconds=600)
    quit: timedelta = timedelta(seconds=10)
    idle: timedelta = timedelta(seconds=20)


class Delivery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """SMTP out."""

    port: int = 25
    allow_networks: tuple[Network, ...] = ()  # loopback and the like that MX addresses may lie in
    timeouts: Timeouts = Timeouts()
    max_connections: int = 1000  # of the whole host
    max_recipients: int = 100  # per transaction


class QueueLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of what is held in memory."""

    window: int = 20_000  # recipients
    ready: int = 2_000  # recipients in one ready queue
    bodies_bytes: int = 33_554_432  # bodies kept in memory beside the disk
    waiting: int | None = None  # recipients in the spool; with more, new mail hears 452. None: as the disk allows
    memory_bytes: int | None = None  # of the agent's process; with more, new mail hears 452. None: no limit


class Log(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the agent's log goes; no file: stderr."""

    file: Path | None = None
    level: str = "INFO"


class Shared(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sections that stand at the top level of both files."""

    pools: dict[PoolName, Pool] = {}
    streams: dict[StreamName, Stream] = {}
    default_stream: StreamName | None = None  # None: `default` if there is one, else unknown mail is refused
    routes: tuple[Route, ...] = ()
    providers: dict[ProviderName, Provider] = {}
    domains: dict[str, Domain] = {}
    automation: Automation = Automation()
    reputation: Reputation = Reputation()
    warm_up: WarmUp = WarmUp()
    dns: Dns = Dns()
    delivery: Delivery = Delivery()
    tls: Tls = Tls()
    retry: Retry = Retry()
    classification: Classification = Classification()
    suppression: SuppressionList = SuppressionList()
    queue: QueueLimits = QueueLimits()
    accounting: Accounting = Accounting()
    events: tuple[EventSink, ...] = ()
    dkim: Dkim = Dkim()
    feedback: Feedback = Feedback()
    dsn: Dsn = Dsn()
    postmaster: str = ""  # From of DSNs, and who `<postmaster>` is to clients; empty: postmaster@<intake host name>
    stop_grace_s: int = 60


class Ssh(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the console reaches a host; what is absent comes from the operator's own ssh configuration."""

    address: str = ""
    port: int | None = None
    user: str | None = None
    identity: Path | None = None
    known_hosts: Path | None = None
    config: Path | None = None  # in the file `none` or a path
    no_config: bool = False  # `config: none`: read no ssh configuration at all
    jump: str | None = None  # `user@bastion:22`


class Transport(StrEnum):
    """Way to a host's socket."""

    SSH = "ssh"
    LOCAL = "local"  # the console runs on the host itself


class FleetHost(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of `hosts` in the fleet file: what is special to the host, and how the console gets there."""

    ssh: Ssh = Ssh()
    transport: Transport = Transport.SSH
    machine: str = ""  # that this agent shares with others: screens show them as one host
    region: str = ""
    state_dir: Path = Path("/var/lib/mailagent")
    rpc: Rpc = Rpc()
    engine: EngineKind = EngineKind.MAILAGENT  # `postfix`: a Postfix that is already there carries the mail
    postfix: Postfix = Postfix()
    intake: Intake = Intake()
    virtual_mtas: dict[VmtaName, VirtualMta] = {}
    metrics: Metrics | None = None  # where GET /metrics answers; None: nowhere
    log: Log = Log()


class FleetConfig(Shared, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`fleet.yaml`."""

    environment: Environment | None = None
    hosts: dict[HostName, FleetHost]
    thresholds: Thresholds = Thresholds()  # the console's; hosts know nothing of them
    alerts: Alerts = Alerts()  # the console's too


class AgentConfig(Shared, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`agent.yaml`: one host's entry lifted to the top level, defaults filled in, shipped providers merged in."""

    host: HostName
    region: str = ""
    state_dir: Path = Path("/var/lib/mailagent")
    rpc: Rpc = Rpc()
    engine: EngineKind = EngineKind.MAILAGENT  # `postfix`: a Postfix that is already there carries the mail
    postfix: Postfix = Postfix()
    intake: Intake = Intake()
    virtual_mtas: dict[VmtaName, VirtualMta] = {}
    metrics: Metrics | None = None  # where GET /metrics answers; None: nowhere
    log: Log = Log()

    @property
    def dsn_from(self) -> str:
        """From of DSNs; people answer to it."""
        return self.postmaster or f"postmaster@{self.intake.hostname or self.host}"
