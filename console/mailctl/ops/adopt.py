"""What was ordered at night, written back to the fleet file: the least edit of its text that says the same."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import HostName, ProviderName, VmtaName
from mailagent.api.targets import TargetKind
from mailagent.config import ConfigError, FleetConfig, load_fleet
from mailagent.config.edits import CannotEdit, Edits
from mailagent.config.scalars import parse_byte_rate, parse_count, parse_rate
from mailagent.config.structs import Provider, Rate, VirtualMta
from mailctl.fleet.state import DirectiveRow
from mailctl.ops.errors import NothingSelected, OptionError

_LISTS: Final = ("active", "standby", "warming", "quarantined", "retired")
_GOOD: Final = {"quarantined": ("quarantined", "retired"), "active": ("active", "warming")}
"""Lists in which a virtual MTA is where it should be."""


class Adoption(msgspec.Struct, frozen=True, kw_only=True):
    """One standing order, and what it became in the file."""

    directive: Directive
    hosts: tuple[HostName, ...]
    result: str  # `fits`, `nothing-to-do`, `refused`
    detail: str
    edit: tuple[str, ...] = ()  # lines of the difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """All of them, and the text of the file with them."""

    rows: tuple[Adoption, ...]
    before: str
    text: str

    @property
    def difference(self) -> str:
        """As `diff -u` has it; empty when nothing changes."""
        return "\n".join(_difference(self.before, self.text, 3))

    @property
    def hosts(self) -> tuple[HostName, ...]:
        """Hosts whose orders are written."""
        return tuple(dict.fromkeys(host for row in self.rows if row.result == "fits" for host in row.hosts))


def adopt(live: Sequence[DirectiveRow], path: Path, ids: Sequence[str], *, everything: bool = False) -> Adopted:
    """The fleet file at `path` with the orders `ids` in it (with `everything`: all live ones that it has words for).

    Nothing is written. An order that cannot be adopted is a row with its reason.

    Raises:
        ConfigError: the file is wrong as it is.
        NothingSelected: no host reports such an order, or none that could be adopted.
    """
    text = path.read_bytes().decode()  # with the line ends that it has
    made = Adopted(rows=(), before=text, text=text)
    config = load_fleet(path)
    for order in _chosen(live, ids, everything):
        made, config = _with(made, config, path, order)
    return made


def put(path: Path, made: Adopted) -> None:
    """Replace the fleet file, whole; owner and mode stay.

    Raises:
        OptionError: it has changed meanwhile, or may not be written.
    """
    target = path.resolve()
    fresh = target.with_name(f".{target.name}.new")
    try:
        if target.read_bytes() != made.before.encode():
            raise OptionError(f"{path} has changed meanwhile; nothing is written")
        fresh.write_bytes(made.text.encode())
        fresh.chmod(target.stat().st_mode & 0o7777)
        fresh.replace(target)
    except OSError as exc:
        raise OptionError(f"{path} cannot be written: {exc.strerror}") from exc
    finally:
        fresh.unlink(missing_ok=True)


def _chosen(live: Sequence[DirectiveRow], ids: Sequence[str], everything: bool) -> list[DirectiveRow]:
    rows = [(row, {view.directive.id for _, view in row.parts}) for row in reversed(live)]
    if missing := [one for one in ids if not any(one in known for _, known in rows)]:
        raise NothingSelected(f"no host has a live directive {', '.join(missing)}; `mailctl directives` lists them")
    if not ids and not everything:
        raise NothingSelected(
            "nothing is selected; name directives, or --all for every one that the file has words for"
        )
    if ids:
        return [row for row, known in rows if known & set(ids)]
    found = [row for row, _ in rows if _has_words(row.directive) and not row.directive.rule]
    if not found:
        raise NothingSelected("no rotation, drain of a virtual MTA or lowered limit stands")
    return found


def _with(made: Adopted, config: FleetConfig, path: Path, order: DirectiveRow) -> tuple[Adopted, FleetConfig]:
    """`made` and `config` with one more order."""

    def row(result: str, detail: str, edit: Iterable[str] = ()) -> Adopted:
        fresh = Adoption(directive=order.directive, hosts=order.hosts, result=result, detail=detail, edit=tuple(edit))
        return replace(made, rows=(*made.rows, fresh))

    edits = Edits(made.text)
    try:
        wanted, detail = _edit(edits, config, order)
        if wanted == config:
            return row("nothing-to-do", "the file says the same"), config
        loaded = load_fleet(path, edits.text.encode())
    except CannotEdit as exc:
        return row("refused", str(exc)), config
    except ConfigError as exc:
        return row("refused", f"the file would not hold: {exc}"), config
    if loaded != wanted:
        return row("refused", "the file would say more than that; edit it by hand"), config
    fresh = row("fits", detail, _difference(made.text, edits.text, 0))
    return replace(fresh, text=edits.text), loaded


def _has_words(one: Directive) -> bool:
    """Whether the file has a place for such an order."""
    match one.kind, one.target.kind:
        case (
            (DirectiveKind.ROTATE, _)
            | (DirectiveKind.DRAIN, TargetKind.VMTA)
            | (
                DirectiveKind.LIMIT,
                TargetKind.PROVIDER,
            )
        ):
            return True
        case DirectiveKind.LIMIT, TargetKind.VMTA:
            return one.limit in VirtualMta.__struct_fields__
    return False


def _edit(edits: Edits, config: FleetConfig, order: DirectiveRow) -> tuple[FleetConfig, str]:
    """Edit the text; what the file should say then, and that in words.

    Raises:
        CannotEdit: the file has no place for such an order, or a person has to edit the text.
    """
    one = order.directive
    if not _has_words(one):
        words = f"a lowered {one.limit} of" if one.kind is DirectiveKind.LIMIT else f"{one.kind} of"
        raise CannotEdit(f"the file has no words for {words} {one.target}")
    if one.kind is not DirectiveKind.LIMIT:
        return _move(edits, config, VmtaName(one.target.name), VmtaName(one.standby))
    if one.target.kind is TargetKind.PROVIDER:
        return _limit_provider(edits, config, order)
    return _limit_vmta(edits, config, one)


def _move(edits: Edits, config: FleetConfig, out: VmtaName, standby: VmtaName) -> tuple[FleetConfig, str]:
    """A virtual MTA to the quarantined ones, and its standby, if there is one, to the active ones."""
    name = next((name for name, pool in config.pools.items() if out in pool.members), None)
    if name is None:
        raise CannotEdit(f"no pool of the file has {out}")
    if standby and standby not in config.pools[name].members:
        raise CannotEdit(f"{standby} is not in the pool of {out}, {name}")
    pool, said = config.pools[name], []
    for vmta, place in ((out, "quarantined"), (standby, "active")):
        now = next((key for key in _LISTS if vmta in getattr(pool, key)), "")
        if not vmta or now in _GOOD[place]:
            continue
        edits.remove(("pools", name, now), vmta)
        edits.append(("pools", name, place), vmta)
        left = tuple(one for one in getattr(pool, now) if one != vmta)
        pool = msgspec.structs.replace(pool, **{now: left, place: (*getattr(pool, place), vmta)})
        said.append(f"{vmta} from {now} to {place}")
    wanted = msgspec.structs.replace(config, pools={**config.pools, name: pool})
    return wanted, f"pools.{name}: {', '.join(said)}"


def _limit_provider(edits: Edits, config: FleetConfig, order: DirectiveRow) -> tuple[FleetConfig, str]:
    one = order.directive
    name = ProviderName(one.target.name)
    before = config.providers.get(name, Provider())
    after = msgspec.structs.replace(before, **{one.limit: _parsed(one)})
    if after != before:
        edits.set(("providers", name, one.limit), one.value)
    elsewhere = set(config.hosts) - set(order.hosts)
    note = f"; on all hosts, while the order stands on {', '.join(order.hosts)} only" if elsewhere else ""
    wanted = msgspec.structs.replace(config, providers={**config.providers, name: after})
    return wanted, f"providers.{name}.{one.limit}: {one.value}{note}"


def _limit_vmta(edits: Edits, config: FleetConfig, one: Directive) -> tuple[FleetConfig, str]:
    name = VmtaName(one.target.name)
    host = next((host for host, entry in config.hosts.items() if name in entry.virtual_mtas), None)
    if host is None:
        raise CannotEdit(f"the file has no virtual MTA {name}")
    entry = config.hosts[host]
    before = entry.virtual_mtas[name]
    after = msgspec.structs.replace(before, **{one.limit: _parsed(one)})
    if after != before:
        edits.set(("hosts", host, "virtual_mtas", name, one.limit), one.value)
    entry = msgspec.structs.replace(entry, virtual_mtas={**entry.virtual_mtas, name: after})
    wanted = msgspec.structs.replace(config, hosts={**config.hosts, host: entry})
    return wanted, f"hosts.{host}.virtual_mtas.{name}.{one.limit}: {one.value}"


def _parsed(one: Directive) -> int | Rate:
    if one.limit == "bytes_rate":
        return parse_byte_rate(one.value)
    return parse_rate(one.value) if one.limit.endswith("rate") else parse_count(one.value)


def _difference(before: str, after: str, context: int) -> Iterator[str]:
    return difflib.unified_diff(
        before.splitlines(), after.splitlines(), "fleet.yaml", "adopted", lineterm="", n=context
    )
