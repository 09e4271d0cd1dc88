"""Limits of virtual MTAs as parameters of Postfix's transports, and what Postfix cannot keep of them. Pure."""

from collections.abc import Iterable, Mapping
from math import ceil
from typing import Final

import msgspec

from mailagent.config.providers import shipped_providers
from mailagent.config.structs import ALONE, AgentConfig, Provider
from mailagent.postfix.tables import transport_of
from mailagent.routing.limits import UNKNOWN_SITE
from mailagent.routing.providers import DEFAULT_PROVIDER

_CONNECTIONS: Final = "destination_concurrency_limit"
_RECIPIENTS: Final = "destination_recipient_limit"
_OF_TRANSPORTS: Final = (
    _CONNECTIONS, _RECIPIENTS, "destination_rate_delay", "transport_rate_delay", "initial_destination_concurrency",
    "destination_concurrency_positive_feedback", "destination_concurrency_negative_feedback",
    "destination_concurrency_failed_cohort_limit", "delivery_slot_cost", "delivery_slot_discount", "delivery_slot_loan",
    "minimum_delivery_slots", "recipient_limit", "extra_recipient_limit", "recipient_refill_limit",
    "recipient_refill_delay",
)  # fmt: skip
"""What main.cf may set for one transport (postconf(5), `transport_...`)."""
_AT_DEFAULT: Final = f"providers.{DEFAULT_PROVIDER}"


def limit_rows(config: AgentConfig, stands: Mapping[str, str]) -> Iterable[tuple[str, str, str]]:
    """(parameter, value, reason): limits of a path, as far as a transport has them.

    They count per virtual MTA and next hop. What the file does not say is as main.cf (`stands`) has it for `smtp`, of
    which virtual MTAs are copies.
    """
    common = _rows(config, stands)
    for name, vmta in config.virtual_mtas.items():
        rows = dict(common)
        if vmta.vmta_rate is not None and vmta.vmta_rate.interval_s >= 1:
            rows["transport_rate_delay"] = f"{ceil(vmta.vmta_rate.interval_s)}s", f"virtual_mtas.{name}.vmta_rate"
        for key, (value, why) in rows.items():
            yield f"{transport_of(name)}_{key}", value, why


def limit_notes(config: AgentConfig, stands: Mapping[str, str]) -> list[str]:
    """What of the limits it will not keep."""
    default = default_limits(config)
    most = _connections(config, stands) or default.connections or 0
    stricter = [
        f"{name} {one.connections}"
        for name, one in config.providers.items()
        if name != DEFAULT_PROVIDER and one.connections is not None and one.connections < most
    ]
    notes = []
    if stricter:
        notes.append(
            f"connections count per virtual MTA and recipient domain, {most} each, not per provider: stricter and not"
            f" kept are {', '.join(stricter)}; a lower providers.default.connections holds everywhere"
        )
    if _is_single(config, stands):
        notes.append(
            "one recipient in a transaction is not kept, two are: with one, Postfix counts connections and rates per"
            " recipient, and would open any number to a domain"
        )
    if any((block.rollup and block.rollup != ALONE) or block.queue_to for block in config.domains.values()):
        notes.append("domains: Postfix knows no rollups and no queue_to")
    faster = [f"virtual_mtas.{name}.vmta_rate" for name, one in config.virtual_mtas.items()
              if one.vmta_rate is not None and one.vmta_rate.interval_s < 1]  # fmt: skip
    if default.rate is not None and default.rate.interval_s < 1:
        faster.append(f"providers.{DEFAULT_PROVIDER}.rate")
    if faster:
        notes.append(f"{', '.join(faster)}: Postfix delays by whole seconds, so more than 1/s has no limit")
    return notes


def default_limits(config: AgentConfig) -> Provider:
    """What holds where no provider says anything."""
    own = config.providers.get(DEFAULT_PROVIDER, Provider())
    said = {name: value for name in ("connections", "messages_per_connection", "recipients_per_transaction", "rate")
            if (value := getattr(own, name)) is not None}  # fmt: skip
    return msgspec.structs.replace(UNKNOWN_SITE, **said)


def _rows(config: AgentConfig, stands: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Value and reason by parameter, the same for every virtual MTA."""
    limits = default_limits(config)
    rows = {
        key: (stands[f"smtp_{key}"], f"smtp_{key} holds for copies of smtp too")
        for key in _OF_TRANSPORTS
        if f"smtp_{key}" in stands
    }
    if _connections(config, stands) is None:
        rows[_CONNECTIONS] = str(limits.connections), f"{_AT_DEFAULT}.connections, for each recipient domain"
    if limits.recipients_per_transaction is not None:
        rows[_RECIPIENTS] = str(limits.recipients_per_transaction), f"{_AT_DEFAULT}.recipients_per_transaction"
    if _is_single(config, stands):
        rows[_RECIPIENTS] = "2", "with 1, Postfix counts connections and rates per recipient, not per domain"
    if limits.rate is not None and limits.rate.interval_s >= 1:
        why = f"{_AT_DEFAULT}.rate, for each recipient domain"
        rows["destination_rate_delay"] = f"{ceil(limits.rate.interval_s)}s", why
    return rows


def _connections(config: AgentConfig, stands: Mapping[str, str]) -> int | None:
    """What main.cf says, where the file says nothing else than what is shipped."""
    said, shipped = (
        providers.get(DEFAULT_PROVIDER, Provider()) for providers in (config.providers, shipped_providers())
    )
    if said.connections not in (None, shipped.connections):
        return None
    value = stands.get(f"smtp_{_CONNECTIONS}", stands.get(f"default_{_CONNECTIONS}", ""))
    return int(value) if value.isdecimal() else None


def _is_single(config: AgentConfig, stands: Mapping[str, str]) -> bool:
    """Whether one recipient in a transaction is asked for, by the file or by main.cf."""
    most = default_limits(config).recipients_per_transaction
    if most is not None:
        return most == 1
    return stands.get(f"smtp_{_RECIPIENTS}", stands.get(f"default_{_RECIPIENTS}", "")) == "1"
