"""Every verb, once: its plan, with the agents' dry run. Somebody confirms it, `execution` does it and reports.

Undo is in `undo`: it takes back any of them.
"""

import shlex
from collections.abc import Mapping

from mailagent.api import requests
from mailagent.api.ids import DirectiveId, HostName
from mailagent.config.scalars import parse_named_limit
from mailctl.fleet import Fleet
from mailctl.ops import mail, targets
from mailctl.ops.dry_run import Draft, planned
from mailctl.ops.errors import NothingSelected, OptionError, SelectorError
from mailctl.ops.filters import Filter
from mailctl.ops.objects import ACTS_ON, request_of
from mailctl.ops.op_ids import UNNAMED
from mailctl.ops.plan import Options, Plan, StepState, Verb
from mailctl.ops.selector import Selection
from mailctl.ops.targets import selected_hosts

DEFAULTS = Options()
_HOSTS_BY_OPTION = frozenset({Verb.SUPPRESSION_ADD, Verb.SUPPRESSION_REMOVE, Verb.SUPPRESSION_PENDING})
"""Commands whose arguments are something else."""


async def plan(fleet: Fleet, verb: Verb, selection: Selection, options: Options = DEFAULTS) -> Plan:
    """What `verb` would do to `selection`, asked of every host that it touches. Changes nothing.

    A host that refuses or cannot be reached is a step of the plan with its reason, not an error.

    Raises:
        SelectorError: terms that the verb cannot act on, or a filter that cannot be read.
        NothingSelected: an empty selection without `options.everything`, or names that no host has.
        OptionError: options that do not go together.
    """
    check(verb, selection, options)
    title, named, vain = str(selection), selection, StepState.REFUSED
    if verb in mail.ON_MAIL:
        wanted = Filter.of(selection, options.filter)
        title, named, vain = str(wanted), wanted.selection, StepState.NOTHING_TO_DO
        drafts = _on_mail(fleet, verb, wanted, options)
    else:
        drafts = _directed(fleet, verb, selection, options)
    made = await planned(fleet, verb, drafts, options, title, selection.words)
    if all(step.state is vain and not step.recorded for step in made.steps):
        targets.check_names(fleet.state, fleet.config, named)
    return made


def check(verb: Verb, selection: Selection, options: Options) -> None:
    """Whether a verb and its selection go together, as far as it shows before hosts are asked. Raises as `plan`."""
    check_options(verb, options)
    if verb in mail.ON_MAIL:
        if not Filter.of(selection, options.filter) and not options.everything:
            raise NothingSelected(f"nothing is selected; --all means every {_which(verb)} message of the fleet")
    elif verb in ACTS_ON:
        targets.acting_kind(selection, ACTS_ON[verb], options.words or verb.words, everything=options.everything)
        if verb is Verb.JOB_SET and not (options.start or options.end or options.rate):
            raise OptionError("job set wants a start, an end or a rate")
    else:
        raise SelectorError(f"{verb} takes an id, not a selection")


async def plan_cancel(fleet: Fleet, directive: DirectiveId, options: Options = DEFAULTS) -> Plan:
    """What ending one directive would do.

    Raises:
        NothingSelected: no host reports such a directive.
    """
    request = requests.Cancel(op_id=UNNAMED, directive=directive)
    return await _plan_directive(fleet, Verb.CANCEL, directive, request, options)


async def plan_edit(fleet: Fleet, directive: DirectiveId, options: Options = DEFAULTS) -> Plan:
    """What giving one directive another end (`options.ttl_s`), or pinning it (`options.pin`), would do.

    Raises:
        NothingSelected: no host reports such a directive.
        OptionError: neither is asked.
    """
    if options.ttl_s is None and options.pin is None:
        raise OptionError("edit wants --for, --pin or --unpin")
    request = requests.Edit(op_id=UNNAMED, directive=directive, pin=options.pin)
    return await _plan_directive(fleet, Verb.EDIT, directive, request, options)


async def plan_request(
    fleet: Fleet,
    verb: Verb,
    request: requests.Mutation,
    selection: Selection,
    options: Options,
    *,
    subject: str,
    words: tuple[str, ...],
) -> Plan:
    """What the same request would do on the hosts of the selection, or on all.

    `subject` is what it is about, `words` say it on a command line.

    Raises:
        SelectorError: the selection has other terms than hosts.
        NothingSelected: names that no host has.
    """
    check_options(verb, options)
    if selection.kinds:
        raise SelectorError(f"{verb.words} takes host: terms only")
    drafts = [Draft(host.name, subject, request) for host in selected_hosts(fleet.state, selection)]
    typed = tuple(map(shlex.quote, words))
    hosts = selection.words
    if verb in _HOSTS_BY_OPTION:
        hosts = tuple(word for host in selection.hosts for word in ("--host", shlex.quote(host)))
    return await planned(fleet, verb, drafts, options, str(selection), (*typed, *hosts))


async def plan_each(
    fleet: Fleet,
    verb: Verb,
    on_hosts: Mapping[HostName, requests.Mutation],
    options: Options,
    *,
    target: str,
    selection: str,
    words: tuple[str, ...],
) -> Plan:
    """What a verb would do that asks something else of each host; `words` are quoted for a command line."""
    check_options(verb, options)
    drafts = [Draft(host, target, request) for host, request in on_hosts.items()]
    return await planned(fleet, verb, drafts, options, selection, words)


async def _plan_directive(
    fleet: Fleet, verb: Verb, directive: DirectiveId, request: requests.Mutation, options: Options
) -> Plan:
    check_options(verb, options)
    drafts = [
        Draft(host, f"directive {directive}", request)
        for row in fleet.state.directives
        for host, view in row.parts
        if view.directive.id == directive
    ]
    if not drafts:
        raise NothingSelected(
            f"no host has a live directive {directive}; `mailctl directives` and `mailctl automation` list them"
        )
    return await planned(fleet, verb, drafts, options, directive, (directive,))


def check_options(verb: Verb, options: Options) -> None:
    """Whether the options go together, and with the verb.

    Raises:
        OptionError: they do not.
    """
    if options.override and not options.reason:
        raise OptionError("overriding a guard wants a reason")
    if options.break_lock and not options.reason:
        raise OptionError("breaking a lock wants a reason")
    if options.refuse and verb is not Verb.DRAIN:
        raise OptionError(f"{verb} has no refuse option; it belongs to drain")
    if verb is Verb.LIMIT and not (options.limit and options.value):
        raise OptionError("limit wants a key and a value, such as connections=2")
    if verb is Verb.LIMIT:
        try:
            parse_named_limit(options.limit, options.value)
        except ValueError as exc:
            raise OptionError(f"{options.limit}: {exc}") from exc


def _directed(fleet: Fleet, verb: Verb, selection: Selection, options: Options) -> list[Draft]:
    """Drafts of a verb that acts on objects."""
    said = options.words or verb.words
    found = targets.aims(
        fleet.state, fleet.inventory, selection, ACTS_ON[verb], verb=said, everything=options.everything
    )
    if options.standby and len(found) > 1:
        raise OptionError("one standby can replace one virtual MTA; rotate them one by one, or leave the choice open")
    return [Draft(aim.host, str(aim.target), request_of(verb, aim, options)) for aim in found]


def _on_mail(fleet: Fleet, verb: Verb, wanted: Filter, options: Options) -> list[Draft]:
    """Drafts of a verb on messages: one per host that may hold matching mail."""
    request = mail.request(verb, wanted.message_filter(deferred_only=verb is Verb.RETRY), options, UNNAMED)
    words = str(wanted.anywhere) or f"all {_which(verb)} mail"
    return [Draft(host.name, words, request) for host in targets.filtered_hosts(fleet.state, wanted)]


def _which(verb: Verb) -> str:
    """Mail that a verb on messages is about."""
    return "deferred" if verb is Verb.RETRY else "held" if verb is Verb.RELEASE else "waiting"
