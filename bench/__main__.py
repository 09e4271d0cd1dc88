"""All measurements side by side: `make bench`, or python -m bench NAME…

relay    rates through the agent, through Postfix (needs root: its master changes users) and directly
latency  a transactional message among 200,000 bulk ones
blocked  200,000 messages of a suspended provider beside another one's mail
depth    1,000,000 messages waiting
postfix  an agent in front of a Postfix with 100,000 deferred messages (needs root)
log      100,000 lines of a Postfix's log
acts     10,000 acts on the messages of a Postfix whose queue churns: none on a message that was not meant (needs root)
scrape   metrics of a usual and of a large host
idle     an agent with nothing to do

Accounting, history and audit are on, as shipped. Traffic stays on 127.0.0.0/8.
"""

import argparse
import asyncio
import os
from collections.abc import Callable

from bench import acts, blocked, depth, idle, latency, postfix, postfix_log, relay, scrape
from bench.report import keep, rate, ratio, table
from bench.systems import POSTFIX

MS = 1000.0
MIB = 1024.0 * 1024.0


def run_relay(options: argparse.Namespace) -> None:
    """Every scenario, `runs` rounds each."""
    systems: tuple[str, ...] = (relay.DIRECT, "agent", "postfix")
    if options.without_postfix or os.geteuid() != 0:
        print("Postfix is left out", "as asked" if options.without_postfix else "(its master needs root)")
        systems = systems[:2]
    else:
        print("Postfix with", ", ".join(f"{name}={value}" for name, value in POSTFIX.items()))
    rows = [("messages/s", "direct", "agent", "Postfix", "agent/direct", "agent/Postfix", "goal")]
    for scenario in relay.SCENARIOS:
        if options.only and options.only not in scenario.name:
            continue
        rounds = [relay.round_of(scenario, systems) for _ in range(options.runs)]
        keep("relay", scenario=scenario.name, rounds=rounds, load=vars(scenario.load))
        by = {system: [one[system] for one in rounds if system in one] for system in systems}
        through = by["agent"]
        rows.append(
            (
                scenario.name, rate(by["direct"]), rate(through), rate(by.get("postfix", [])),
                ratio(through, by["direct"]), ratio(through, by.get("postfix", [])), scenario.goal,
            )
        )  # fmt: skip
        print(f"  {scenario.name}: {rows[-1][2]}", flush=True)
    table(rows)


def run_latency(_: argparse.Namespace) -> None:
    """Transactional among bulk."""
    found = asyncio.run(latency.measure())
    keep("latency", **vars(found))
    table(
        [
            ("transactional among bulk, 250 to 250", "p50", "p99", "longest", "bulk meanwhile", "goal"),
            (
                f"{latency.LETTERS} messages", f"{found.p50_s * MS:.1f} ms", f"{found.p99_s * MS:.1f} ms",
                f"{found.max_s * MS:.1f} ms", f"{found.bulk_per_s:.0f}/s", f"p99 under {latency.GOAL_S * MS:.0f} ms",
            ),
        ]
    )  # fmt: skip


def run_blocked(options: argparse.Namespace) -> None:
    """Another provider's mail."""
    found = asyncio.run(blocked.measure(runs=options.runs))
    keep("blocked", **vars(found))
    table(
        [
            (f"{blocked.WAITING} messages of a suspended provider wait", "empty queue", "beside them", "ratio", "goal"),
            (
                "another provider's mail", f"{found.empty_per_s:.0f}/s", f"{found.blocked_per_s:.0f}/s",
                f"{found.blocked_per_s / found.empty_per_s:.2f}", "not slowed",
            ),
        ]
    )  # fmt: skip


def run_depth(options: argparse.Namespace) -> None:
    """A million waiting."""
    found = asyncio.run(depth.measure(options.waiting, options.runs))
    keep("depth", **vars(found))
    slowest = max(found.pages_s, key=lambda name: found.pages_s[name])
    table(
        [
            (f"{found.waiting} messages waiting", "measured", "goal"),
            ("agent's RSS", f"{found.rss_bytes / MIB:.0f} MiB", "300 MB"),
            ("restart to first delivery", f"{found.restart_s:.2f} s", "5 s"),
            ("deferred, grouped", f"{found.groups_s * MS:.0f} ms", "200 ms"),
            (f"slowest page of 500 ({slowest})", f"{found.pages_s[slowest] * MS:.0f} ms", "50 ms"),
            ("intake, of an empty queue's", f"{found.deep[0] / found.empty[0]:.2f}", "0.80"),
            ("delivery, of an empty queue's", f"{found.deep[1] / found.empty[1]:.2f}", "0.80"),
        ]
    )


def run_postfix(_: argparse.Namespace) -> None:
    """The queue of a Postfix."""
    if os.geteuid() != 0:
        print("postfix is left out (Postfix's master needs root)")
        return
    found = asyncio.run(postfix.measure())
    keep("postfix", **vars(found))
    table(
        [
            (f"{found.messages} deferred in a Postfix", "measured", "goal"),
            ("first figures after the agent's start", f"{found.first_s:.1f} s", "3 s"),
            ("complete", f"{found.complete_s:.1f} s", "12 s"),
            ("a later look at the same queue", f"{found.again_s:.1f} s of processor", "-"),
            ("highest RSS", f"{found.rss_bytes / MIB:.0f} MiB", "120 MB"),
        ]
    )


def run_log(options: argparse.Namespace) -> None:
    """The log of a Postfix."""
    rounds = [asyncio.run(postfix_log.measure()) for _ in range(options.runs)]
    found = sorted(rounds, key=lambda one: one.cpu_s)[len(rounds) // 2]
    keep("log", **vars(found))
    table(
        [
            (f"{found.lines} lines of a Postfix's log", "measured", "goal"),
            ("processor, all threads", f"{found.cpu_s:.1f} s", "8 s"),
            (f"at {postfix_log.LINES_PER_S} lines/s", f"{found.share:.0%} of a core", f"{postfix_log.GOAL:.0%}"),
            ("fastest", f"{found.lines / found.elapsed_s:,.0f} lines/s", "-"),
        ]
    )


def run_acts(_: argparse.Namespace) -> None:
    """Acts on the queue of a Postfix."""
    if os.geteuid() != 0:
        print("acts is left out (Postfix's master needs root)")
        return
    found = asyncio.run(acts.measure())
    keep("acts", **vars(found))
    table(
        [
            (f"{found.orders} orders, {found.by_others} acts of others meanwhile", "measured", "goal"),
            ("acts", str(sum(found.done.values())), str(acts.ACTS)),
            *((f"  {name}", str(count), "-") for name, count in sorted(found.done.items())),
            ("on a message that was not meant", str(found.wrong), "0"),
            ("time", f"{found.seconds:.0f} s", "-"),
        ]
    )


def run_idle(_: argparse.Namespace) -> None:
    """Nothing to do."""
    found = idle.measure()
    keep("idle", **vars(found))
    table(
        [
            ("idle agent", "measured", "goal"),
            ("RSS", f"{found.rss_bytes / MIB:.0f} MiB", "70 MB"),
            ("processor", f"{found.cpu:.2%}", "0.5 %"),
        ]
    )


def run_scrape(_: argparse.Namespace) -> None:
    """What Prometheus costs."""
    rows = [("one scrape", "series", "KiB", "event loop, median", "longest", "GET, median", "goal")]
    for vmtas, providers in ((8, 12), (32, 16)):
        found = asyncio.run(scrape.measure(vmtas, providers))
        keep("scrape", **vars(found))
        rows.append(
            (
                f"{vmtas} virtual MTAs, {providers} providers", str(found.series), f"{found.size_bytes / 1024:.0f}",
                f"{found.loop_s * MS:.1f} ms", f"{found.longest_s * MS:.1f} ms", f"{found.get_s * MS:.1f} ms",
                f"{scrape.GOAL_S * MS:.0f} ms at once",
            )
        )  # fmt: skip
    table(rows)


BENCHMARKS: dict[str, Callable[[argparse.Namespace], None]] = {
    "relay": run_relay,
    "latency": run_latency,
    "blocked": run_blocked,
    "depth": run_depth,
    "postfix": run_postfix,
    "log": run_log,
    "acts": run_acts,
    "scrape": run_scrape,
    "idle": run_idle,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all if none is named")
    parser.add_argument("--runs", type=int, default=3, help="rounds; figures are medians")
    parser.add_argument("--only", default="", metavar="TEXT", help="relay scenarios whose name contains this")
    parser.add_argument("--without-postfix", action="store_true", help="measure the agent and the ceiling only")
    parser.add_argument("--waiting", type=int, default=depth.WAITING, help="messages that wait in depth")
    options = parser.parse_args()
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name}")
    for name in options.names or BENCHMARKS:
        BENCHMARKS[name](options)


if __name__ == "__main__":
    main()
