"""Each state as glyph, word and tone, in that order of importance: readable without colour."""

from mailagent.api.jobs import JobState
from mailagent.api.views import EngineState, MemberState, PoolState
from mailctl.fleet.state import HostState, LinkState
from mailctl.tui.listing import Cell
from mailctl.tui.theme import Tone

_LINKS = {
    LinkState.CONNECTING: ("◌", Tone.QUIET),
    LinkState.LIVE: ("●", Tone.GOOD),
    LinkState.LATE: ("◍", Tone.WARN),
    LinkState.LOST: ("✕", Tone.BAD),
    LinkState.DENIED: ("⊘", Tone.BAD),
    LinkState.INCOMPATIBLE: ("≠", Tone.WARN),
}
_ENGINES = {
    EngineState.STARTING: ("◌", Tone.QUIET),
    EngineState.RUNNING: ("●", Tone.GOOD),
    EngineState.DRAINING: ("▽", Tone.WARN),
    EngineState.STOPPING: ("▽", Tone.WARN),
    EngineState.FAILED: ("✕", Tone.BAD),
}
_MEMBERS = {
    MemberState.ACTIVE: ("●", Tone.GOOD),
    MemberState.STANDBY: ("○", Tone.QUIET),
    MemberState.WARMING: ("◔", Tone.ACCENT),
    MemberState.DRAINING: ("▽", Tone.WARN),
    MemberState.SUSPENDED: ("‖", Tone.WARN),
    MemberState.QUARANTINED: ("◆", Tone.BAD),
    MemberState.RETIRED: ("−", Tone.QUIET),
}
_POOLS = {
    PoolState.ACTIVE: ("●", Tone.GOOD),
    PoolState.DRAINING: ("▽", Tone.WARN),
    PoolState.SUSPENDED: ("‖", Tone.WARN),
    PoolState.EMPTY: ("○", Tone.QUIET),
}
_JOBS = {
    JobState.RUNNING: ("●", Tone.GOOD),
    JobState.SCHEDULED: ("◔", Tone.ACCENT),
    JobState.PAUSED: ("‖", Tone.WARN),
    JobState.CANCELLED: ("✕", Tone.QUIET),
    JobState.DONE: ("✓", Tone.QUIET),
}


def link_cell(state: LinkState) -> Cell:
    """How a host stands with us."""
    glyph, tone = _LINKS[state]
    return Cell(f"{glyph} {state}", tone)


def host_cell(host: HostState) -> Cell:
    """The link while it is not live, else the agent's own state: `running` is simply `live`."""
    if host.state is not LinkState.LIVE or host.view is None or host.view.state is EngineState.RUNNING:
        return link_cell(host.state)
    glyph, tone = _ENGINES[host.view.state]
    return Cell(f"{glyph} {host.view.state}", tone)


def member_cell(state: MemberState) -> Cell:
    """State of a virtual MTA."""
    glyph, tone = _MEMBERS[state]
    return Cell(f"{glyph} {state}", tone)


def pool_cell(state: PoolState) -> Cell:
    """State of a pool or provider."""
    glyph, tone = _POOLS[state]
    return Cell(f"{glyph} {state}", tone)


def job_cell(state: JobState) -> Cell:
    """State of a job."""
    glyph, tone = _JOBS[state]
    return Cell(f"{glyph} {state}", tone)


def deferral_tone(fraction: float | None) -> Tone:
    """How much a share of failed attempts should worry: 5 % is worth a look, 20 % is a problem."""
    if not fraction:
        return Tone.QUIET
    if fraction >= 0.2:
        return Tone.BAD
    return Tone.WARN if fraction >= 0.05 else Tone.TEXT
