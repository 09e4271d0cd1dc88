"""The providers of the demo, with the MX host names that the shipped provider rules match."""

from mailctl.demo.providers import Limits, ProviderSpec
from mailctl.demo.replies import Situation

SENDER_DOMAINS = ("receipts.acme.example", "news.acme.example", "outreach.acme.example", "mail.acme.example")
"""Where the demo's mail comes from; DSNs go there."""
NULL_MX_DOMAIN = "nomail.example"
"""A domain that says it takes no mail (RFC 7505)."""

_WORKSPACE = ("brightwave.example", "cedarline.example", "norddata.example", "papertrail.example")
_SHARED_HOSTING = ("bakery.example", "cyclinghub.example", "dentalcare.example", "flowershop.example")
_GREYLISTING = ("harbor-univ.example", "institute.example", "library.example", "museum.example")
_TARPIT = ("slowgate.example", "oldmill.example")
_OWN_SERVERS = (
    "alpine-tools.example", "amberfield.example", "bluebird.example", "canalworks.example", "copperhill.example",
    "daybreak.example", "eastgate.example", "fernwood.example", "foxglove.example", "graniteworks.example",
    "hazelnut.example", "ironbridge.example", "juniper.example", "kestrel.example", "lakeside.example",
    "larkspur.example", "maplegrove.example", "meadowlark.example", "millstone.example", "northwind.example",
    "oakridge.example", "orchard.example", "pinecrest.example", "quarry.example", "riverbend.example",
    "sandpiper.example", "silverbirch.example", "stonebridge.example", "thornhill.example", "westbrook.example",
)  # fmt: skip

GMAIL = ProviderSpec(
    name="gmail",
    mx={
        "gmail": ("gmail-smtp-in.l.google.com", *(f"alt{n}.gmail-smtp-in.l.google.com" for n in (1, 2, 3, 4))),
        "workspace": ("aspmx.l.google.com", *(f"alt{n}.aspmx.l.google.com" for n in (1, 2, 3, 4))),
    },
    domains={"gmail.com": "gmail", "googlemail.com": "gmail"} | dict.fromkeys(_WORKSPACE, "workspace"),
    share=0.42,
    limits=Limits(connections=10, rate_per_s=25),
    marks={
        Situation.UNKNOWN: "p=NoSuchUser",
        Situation.FULL: "p=OverQuotaTemp",
        Situation.THROTTLED: "p=UnsolicitedRateLimitError",
        Situation.SUSPECT: "very low reputation of the sending IP",
        Situation.HICCUP: "p=ReceivingRate ",
    },
    accepted="250 2.0.0 OK {token} - gsmtp",
    hiccups=0.004,
)
OUTLOOK = ProviderSpec(
    name="outlook",
    mx={name: (f"{name}-com.olc.protection.outlook.com",) for name in ("outlook", "hotmail", "live")},
    domains={f"{name}.com": name for name in ("outlook", "hotmail", "live")},
    share=0.20,
    limits=Limits(connections=10, rate_per_s=15),
    marks={
        Situation.UNKNOWN: "mailbox unavailable (S2017062302)",
        Situation.THROTTLED: "Server busy. Please try again later from",
        Situation.SUSPECT: "temporarily rate limited due to IP reputation",
        Situation.CROWDED: "has exceeded the maximum number of connections",
        Situation.WORN: "exceeded maximum number of messages per connection",
        Situation.LISTED: "block list (S3150)",
    },
    accepted="250 2.6.0 [InternalId={token}] Queued mail for delivery -> 250 2.1.5",
    hiccups=0.006,
)
YAHOO = ProviderSpec(
    name="yahoo",
    mx={
        "yahoo": ("mta5.am0.yahoodns.net", "mta6.am0.yahoodns.net", "mta7.am0.yahoodns.net"),
        "aol": ("mx-aol.mail.gm0.yahoodns.net",),
    },
    domains={"yahoo.com": "yahoo", "ymail.com": "yahoo", "aol.com": "aol"},
    share=0.15,
    limits=Limits(connections=10, messages_per_connection=20, rate_per_s=15),
    marks={
        Situation.UNKNOWN: "This user doesn't have a yahoo.com account",
        Situation.THROTTLED: "[TSS04]",
        Situation.SUSPECT: "[TS03]",
    },
    accepted="250 ok dirdel {token}",
    hiccups=0.004,
)
APPLE = ProviderSpec(
    name="icloud",
    mx={"icloud": ("mx01.mail.icloud.com", "mx02.mail.icloud.com")},
    domains=dict.fromkeys(("icloud.com", "me.com", "mac.com"), "icloud"),
    share=0.05,
    limits=Limits(connections=20, messages_per_connection=5, rate_per_s=10),
    marks={
        Situation.UNKNOWN: "<nobody@icloud.com>: user does not exist",
        Situation.FULL: "<nobody@icloud.com>: user is over quota",
        Situation.THROTTLED: "deferred due to excessive volume",
        Situation.HICCUP: "4.7.1 Service unavailable - try again later",
    },
    accepted="250 2.0.0 Ok: queued as {token}",
    hiccups=0.004,
)
SHOPS = ProviderSpec(
    name="shops",  # one hosting company, thousands of domains: most are new to the DNS cache
    mx={"shops": ("mx1.shopfront.example", "mx2.shopfront.example")},
    domains={f"shop-{n}.example": "shops" for n in range(5000)},
    share=0.02,
    limits=Limits(connections=20, rate_per_s=50),
)
TAIL = ProviderSpec(
    name="tail",
    mx={
        "hosting": ("mx1.webspace.example", "mx2.webspace.example"),
        **{domain: (f"mx.{domain}",) for domain in _OWN_SERVERS},
    },
    domains=dict.fromkeys(_SHARED_HOSTING, "hosting") | {domain: domain for domain in _OWN_SERVERS},
    share=0.12,
    limits=Limits(connections=20, rate_per_s=50),
    hiccups=0.005,
)
GREYLISTING = ProviderSpec(
    name="greylisting",
    mx={domain: (f"mx.{domain}",) for domain in _GREYLISTING},
    domains={domain: domain for domain in _GREYLISTING},
    share=0.03,
    greylist_s=10,
)
TARPIT = ProviderSpec(
    name="tarpit",
    mx={domain: (f"mx.{domain}",) for domain in _TARPIT},
    domains={domain: domain for domain in _TARPIT},
    share=0.01,
    limits=Limits(connections=2),
    greeting_delay_s=2,
    dot_delay_s=1,
)
ACME = ProviderSpec(
    name="acme",  # the sender itself: takes the DSNs
    mx={"acme": ("mx.acme.example",)},
    domains=dict.fromkeys(SENDER_DOMAINS, "acme"),
)

PROVIDERS = (GMAIL, OUTLOOK, YAHOO, APPLE, TAIL, SHOPS, GREYLISTING, TARPIT, ACME)
