"""What an operation will do, and what it did: values that the screens and the commands show alike."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mailagent.api.ids import HostName, OpId
from mailagent.api.operations import Impact, OperationResult
from mailagent.api.requests import Mutation
from mailagent.api.words import command
from mailagent.config.safety import Environment


class Verb(StrEnum):
    """What operators do; each is also the name of its method, and with blanks the one of its command."""

    DRAIN = "drain"
    UNDRAIN = "undrain"
    EVACUATE = "evacuate"
    SUSPEND = "suspend"
    RESUME = "resume"
    ROTATE = "rotate"
    LIMIT = "limit"
    RETRY = "retry"
    HOLD = "hold"
    RELEASE = "release"
    REBIND = "rebind"
    PROBE = "probe"
    BOUNCE = "bounce"
    DELETE = "delete"
    REQUEUE = "requeue"
    CANCEL = "cancel"
    EDIT = "edit"
    UNDO = "undo"
    LOCK_TAKE = "lock_take"
    LOCK_RELEASE = "lock_release"
    SUPPRESSION_ADD = "suppression_add"
    SUPPRESSION_REMOVE = "suppression_remove"
    SUPPRESSION_PENDING = "suppression_pending"
    SUPPRESSION_FREEZE = "suppression_freeze"
    SUPPRESSION_THAW = "suppression_thaw"
    JOB_SET = "job_set"
    JOB_CANCEL = "job_cancel"
    DKIM_PREPARE = "dkim_prepare"
    DKIM_SWITCH = "dkim_switch"
    DKIM_RETIRE = "dkim_retire"
    NOTE_ADD = "note_add"
    CREDENTIAL_CREATE = "credential_create"
    CREDENTIAL_SCOPE = "credential_scope"
    CREDENTIAL_ROTATE = "credential_rotate"
    CREDENTIAL_REVOKE = "credential_revoke"
    CONFIG_APPLY = "config_apply"
    CONFIG_UNDO = "config_undo"

    @property
    def words(self) -> str:
        """As the shell has it: `dkim prepare`."""
        return command(self)


def titled(words: str, selection: str) -> str:
    """A command as the operator would type it: `drain pool:marketing`, `job pause spring-sale`."""
    return " ".join((words, *as_arguments(words, selection.split(" ")))).rstrip()


def as_arguments(words: str, terms: Iterable[str]) -> tuple[str, ...]:
    """Terms as a command takes them: those of jobs have names without their kind."""
    return tuple(term.removeprefix("job:") if words.startswith("job ") else term for term in terms)


FINAL = frozenset({Verb.JOB_CANCEL, Verb.BOUNCE, Verb.DELETE})
"""Verbs after which mail is gone."""
LARGE = 1000
LARGE_SHARE = 0.25
MANY_HOSTS = 3
"""Beyond so many messages, or on so many hosts, mail is given up only by its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What an operator may say about a verb beside the selection."""

    words: str = ""  # the command, where it is another than that of the verb: `job pause`
    reason: str = ""
    ttl_s: int | None = None  # None: the agents' default for the verb
    override: bool = False  # act although a guard or a pre-flight refuses; wants a reason
    break_lock: bool = False  # act although somebody else holds the lock of a host; wants a reason
    key: str = ""  # names the operation, so that it is executed once however often it is asked for
    refuse: bool = False  # drain of a pool: refuse new mail instead of keeping it
    pool: str = ""  # rebind: the pool to send from
    standby: str = ""  # rotate: the virtual MTA to take over, empty: the first fit one
    limit: str = ""  # limit: name of the key
    value: str = ""  # limit: its value
    selector: str = ""  # dkim: the selector, empty: the agents' choice
    algorithm: str = "rsa"  # dkim prepare
    start: datetime | None = None  # job set
    end: datetime | None = None  # job set
    rate: str = ""  # job set: on each host; `none` lifts it
    bounce: bool = False  # job cancel: tell the senders
    spread_s: int = 60  # retry: over how long
    max_affected: int | None = None  # verbs on mail: refuse when more recipients match
    filter: str = ""  # verbs on messages: what narrows beside the selection, a filter line
    pin: bool | None = None  # edit: automation may not change or end it
    everything: bool = False  # an empty selection means the whole fleet (`--all`)


NO_IMPACT = Impact()


class StepState(StrEnum):
    """What the agents' dry run said about one step."""

    READY = "ready"
    NOTHING_TO_DO = "nothing-to-do"
    REFUSED = "refused"  # a guard, a role, a stale or missing object
    FAILED = "failed"  # the agent answered with another error
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call to one host, frozen when the plan was made."""

    host: HostName
    target: str  # `pool:marketing`, a message filter in words, or a directive id
    state: StepState
    detail: str  # the agent's sentence: what it will do, or why not
    request: Mutation  # as it will be sent, with op_id and the generation it was planned on
    impact: Impact = NO_IMPACT
    warnings: tuple[str, ...] = ()
    undoable: bool = False
    undo_note: str = ""
    guarded: bool = False  # refused by a guard or a pre-flight, which `override` may pass
    locked: bool = False  # refused because somebody else holds the host's lock, which `break_lock` may pass
    recorded: bool = False  # executed already under the same key: not sent again

    @property
    def runs(self) -> bool:
        """Whether executing the plan sends it."""
        return not self.recorded and self.state in (StepState.READY, StepState.NOTHING_TO_DO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One operation, whole, before it happens. Nothing in it changes while a question about it stands."""

    verb: Verb
    op_id: OpId
    made_at: datetime
    selection: str  # as the operator would type it: `pool:marketing host:mx1`
    options: Options
    steps: tuple[Step, ...]  # in the order of the fleet file
    hosts: int  # hosts that will be asked
    fleet_hosts: int
    messages: int  # waiting recipients that it touches
    connections: int
    share: float  # of the fleet's deliveries, 0 to 1
    untouched: tuple[str, ...]
    warnings: tuple[str, ...]
    undoable: bool
    undo_note: str  # what undo will not bring back, or why it cannot be undone
    command: str  # the same for the shell
    environment: str = ""  # of the fleet file

    @property
    def runnable(self) -> tuple[Step, ...]:
        """Steps that will be sent."""
        return tuple(step for step in self.steps if step.runs)

    @property
    def is_possible(self) -> bool:
        """Whether executing it would change anything."""
        return any(step.state is StepState.READY for step in self.steps)

    @property
    def is_guarded(self) -> bool:
        """Whether a guard stands in the way that may be overridden."""
        return any(step.guarded for step in self.steps)

    @property
    def is_locked(self) -> bool:
        """Whether somebody else's lock stands in the way."""
        return any(step.locked for step in self.steps)

    @property
    def is_production(self) -> bool:
        """Whether the fleet file says so."""
        return self.environment == Environment.PRODUCTION

    @property
    def is_large(self) -> bool:
        """Whether it touches half of the hosts, a quarter of the traffic, or as many messages as people notice."""
        return self.hosts * 2 >= self.fleet_hosts > 1 or self.share >= LARGE_SHARE or self.messages > LARGE

    @property
    def word(self) -> str:
        """What is typed to confirm it: a name when it is final, overrides a guard or breaks a lock, else empty.

        On production also when it is large and cannot be undone. Mail is given up by the name of the verb, much of it
        with the number; one message as what can be undone.
        """
        passes = self.options.override or self.options.break_lock
        grave = self.is_production and self.is_large and not self.undoable
        if self.verb not in FINAL and not passes and not grave:
            return ""
        if self.verb in (Verb.BOUNCE, Verb.DELETE):
            if self.messages == 1:
                return ""
            large = self.messages > LARGE or self.hosts >= MANY_HOSTS
            return f"{self.verb} {self.messages}" if large else str(self.verb)
        return self.steps[0].target.partition(":")[2] or self.steps[0].target if self.steps else self.selection

    @property
    def words(self) -> str:
        """The verb as the operator has it."""
        return self.options.words or self.verb.words

    @property
    def title(self) -> str:
        """`drain pool:marketing`."""
        return titled(self.words, self.selection)


class LineResult(StrEnum):
    """What became of one step."""

    APPLIED = "applied"
    NOTHING_TO_DO = "nothing-to-do"
    REFUSED = "refused"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"  # the answer was lost; the agent may have done it
    NOT_REACHED = "not-reached"  # a roll-out stopped before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a report."""

    host: HostName
    target: str
    result: LineResult
    detail: str
    op_id: OpId
    stale: bool = False  # refused because the object has moved on: plan again
    answer: OperationResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an operation did: one line per step."""

    verb: Verb
    op_id: OpId
    title: str  # as that of the plan
    lines: tuple[Line, ...]
    command: str
    undo_command: str  # empty when there is nothing to undo
    undo_note: str
    ask_command: str = ""  # tells later what became of it, where that is unknown

    def count(self, result: LineResult) -> int:
        """Lines with that result."""
        return sum(line.result is result for line in self.lines)

    @property
    def counts(self) -> dict[LineResult, int]:
        """Lines with each result, none left out."""
        return {result: self.count(result) for result in LineResult}

    @property
    def succeeded(self) -> bool:
        """Whether every line is applied or had nothing to do."""
        return all(line.result in (LineResult.APPLIED, LineResult.NOTHING_TO_DO) for line in self.lines)

    @property
    def is_stale(self) -> bool:
        """Whether a host refused because its object has moved on: plan again and ask again."""
        return any(line.stale for line in self.lines)

    @property
    def summary(self) -> str:
        """`applied on 2 of 3 hosts, unreachable on 1 of 3 hosts`; objects are counted where a host has several."""
        of = len(self.lines)
        thing = "host" if of == len({line.host for line in self.lines}) else "object"
        things = thing if of == 1 else f"{thing}s"
        parts = [
            f"{str(result).replace('-', ' ')} on {self.count(result)} of {of} {things}"
            for result in LineResult
            if self.count(result)
        ]
        return ", ".join(parts)
