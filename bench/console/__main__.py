"""How the console scales: `make bench-console`, or python -m bench.console [NAME]...

scale    hosts at 1 Hz: time until all are connected, processor and memory of the console
keys     from a key to its paint, over many rows
start    first frame from process start, with no host answering
drain    a pool drained on all hosts
status   `mailctl status --json` from process start
replay   memory over an hour of a recording, at ×60 (--speed 1 takes the hour)
stopped  memory and speed of an agent whose consoles are stopped (wants Postfix's smtp-source and smtp-sink)

Hosts are simulated by one process that speaks the agents' RPC behind a real SSH server; the console runs in a
terminal of its own. Traffic stays on 127.0.0.0/8.
"""

import argparse
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.console import measures, stopped
from bench.report import keep, table

MS = 1000.0
MIB = 1024.0 * 1024.0
MOST_GROWTH = 0.05
"""Of a replay's memory in its second half: more is a leak."""


def show(name: str, found: Any, rows: Sequence[tuple[str, str, str]]) -> None:
    """Keep the figures of one measurement, and print them beside what they should be."""
    keep("console", measurement=name, **asdict(found))
    table([(name, "measured", "goal"), *rows])


def run_scale(options: argparse.Namespace) -> None:
    """Many hosts."""
    found = measures.scale(options.hosts, options.watch)
    show(
        f"scale: {found.hosts} hosts at 1 Hz",
        found,
        [
            ("all connected by SSH", f"{found.connect_s:.1f} s, {found.connect_cpu_s:.1f} s of CPU", "60 s"),
            ("processor", f"{found.cpu:.1%}", "35 %"),
            ("RSS", f"{found.rss_bytes / MIB:.0f} MiB", "300 MB"),
        ],
    )


def run_keys(options: argparse.Namespace) -> None:
    """Key to paint."""
    found = measures.keys(options.rows, options.changed, options.presses)
    show(
        f"keys: {found.rows} rows, {found.changed} changed a second",
        found,
        [
            ("key to paint, p50", f"{found.p50_s * MS:.0f} ms", ""),
            ("key to paint, p99", f"{found.p99_s * MS:.0f} ms", "50 ms"),
            ("longest", f"{found.max_s * MS:.0f} ms", ""),
            ("processor", f"{found.cpu:.1%}", ""),
            ("RSS", f"{found.rss_bytes / MIB:.0f} MiB", ""),
        ],
    )


def run_start(options: argparse.Namespace) -> None:
    """First frame."""
    found = measures.first_frame(options.runs)
    show(
        f"start: {found.hosts} hosts, none answers",
        found,
        [("first frame", f"{found.median_s * MS:.0f} ms, {found.cpu_s * MS:.0f} ms of CPU", "600 ms")],
    )


def run_drain(options: argparse.Namespace) -> None:
    """Fleet-wide drain."""
    found = measures.drain(options.drained)
    show(
        f"drain: a pool on {found.hosts} hosts",
        found,
        [
            ("planned", f"{found.plan_s * MS:.0f} ms", ""),
            (f"acknowledged by {found.applied}", f"{found.execute_s * MS:.0f} ms", "2 s"),
        ],
    )


def run_status(options: argparse.Namespace) -> None:
    """The command."""
    found = measures.status(20, options.runs)
    show(
        f"status --json of {found.hosts} hosts",
        found,
        [("from process start", f"{found.median_s * MS:.0f} ms, {found.cpu_s * MS:.0f} ms of CPU", "700 ms")],
    )


def run_replay(options: argparse.Namespace) -> None:
    """Memory over time."""
    found = measures.replayed(20, options.minutes, options.speed)
    show(
        f"replay: {found.minutes} min of {found.hosts} hosts, {found.file_bytes / MIB:.1f} MiB, at ×{found.speed}",
        found,
        [
            ("played in", f"{found.wall_s:.0f} s", f"{found.minutes * 60 / found.speed:.0f} s"),
            ("RSS after each sixth, MiB", " ".join(f"{one / MIB:.0f}" for one in found.rss_bytes), ""),
            ("growth from the middle to the end", f"{found.growth:+.1%}", f"at most {MOST_GROWTH:.0%}"),
        ],
    )
    if found.growth > MOST_GROWTH:
        raise SystemExit(f"memory grew by {found.growth:.1%} in the second half: it is not flat")


def run_stopped(options: argparse.Namespace) -> None:
    """SIGSTOP."""
    found = stopped.measure(options.messages)
    show(
        f"stopped: an agent with {found.consoles} stopped consoles",
        found,
        [
            (
                "its memory grows by",
                f"{found.stopped_bytes / MIB:.1f} MiB ({found.reading_bytes / MIB:.1f} while they read)",
                "less than 32 MB more",
            ),
            (
                "relays",
                f"{found.stopped_per_s:.0f}/s ({found.reading_per_s:.0f}/s while they read)",
                f"{found.alone_per_s:.0f}/s without consoles",
            ),
            ("rate with stopped consoles to without", f"{found.ratio:.2f}", "1"),
        ],
    )


MEASUREMENTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "scale": run_scale,
    "keys": run_keys,
    "start": run_start,
    "drain": run_drain,
    "status": run_status,
    "replay": run_replay,
    "stopped": run_stopped,
}


def machine() -> str:
    """What it runs on."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} × {model}, Linux {platform.release()}, Python {platform.python_version()}, load {load}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.console", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}; all if none is named")
    parser.add_argument("--hosts", type=int, default=1000, help="of scale")
    parser.add_argument("--watch", type=float, default=30.0, metavar="S", help="seconds to watch in scale")
    parser.add_argument("--rows", type=int, default=100_000, help="of keys")
    parser.add_argument("--changed", type=int, default=20, help="rows that change each second in keys")
    parser.add_argument("--presses", type=int, default=300, help="keys")
    parser.add_argument("--drained", type=int, default=200, help="hosts of drain")
    parser.add_argument("--minutes", type=int, default=60, help="of replay")
    parser.add_argument("--speed", type=int, default=60, help="of replay: 1 takes as long as was recorded")
    parser.add_argument("--messages", type=int, default=20_000, help="of stopped")
    parser.add_argument("--runs", type=int, default=5, help="of start and status")
    options = parser.parse_args()
    for name in options.names:
        if name not in MEASUREMENTS:
            parser.error(f"no measurement {name}")
    print(machine(), flush=True)
    for name in options.names or MEASUREMENTS:
        MEASUREMENTS[name](options)


if __name__ == "__main__":
    main()
