"""End-to-end rate of one agent: smtp-source -> agent -> smtp-sink, against smtp-source -> smtp-sink directly.

    python -m bench.relay [--messages 20000] [--sessions 20] [--size 10240] [--runs 3]

Rates are messages at the sink per second, from the start of smtp-source until the sink has counted the last message
(directly: has taken it, as smtp-source fails when the sink ends before it). Direct and relayed runs take turns, so
that both see the same machine. Prints a table and appends JSON lines to bench/results/relay.jsonl.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from tests.conftest import program as installed
from tests.integration.processes import AGENT_YAML, accepts, agent, free_port, smtp_sink, wait_until


def direct(messages: int, sessions: int, size: int) -> float:
    """Messages per second without anything between."""
    port = free_port()
    with sink(port):
        started = time.perf_counter()
        source(port, messages, sessions, size)
        return messages / (time.perf_counter() - started)


def relayed(messages: int, sessions: int, size: int) -> float:
    """Messages per second through one agent."""
    port, sink_port = free_port(), free_port()
    with (
        tempfile.TemporaryDirectory(prefix="mailctl-bench-") as directory,
        sink(sink_port, "-M", str(messages)) as process,
        agent(Path(directory), AGENT_YAML.format(port=port, sink=sink_port), port),
    ):
        started = time.perf_counter()
        source(port, messages, sessions, size)
        process.wait(timeout=300)
        return messages / (time.perf_counter() - started)


class sink:  # noqa: N801
    """A running smtp-sink."""

    def __init__(self, port: int, *options: str) -> None:
        # the probe that waits for the greeting is a session without a message
        self._command = smtp_sink(*options, f"127.0.0.1:{port}", "1000")
        self._port = port

    def __enter__(self) -> "subprocess.Popen[bytes]":
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: accepts(self._port), "smtp-sink")
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def source(port: int, messages: int, sessions: int, size: int) -> None:
    subprocess.run(
        [
            str(installed("smtp-source")), "-N", "-d", "-s", str(sessions), "-l", str(size), "-m", str(messages),
            "-f", "a@sender.example", "-t", "b@recipient.example", f"127.0.0.1:{port}",
        ],
        check=True,
        timeout=300,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=10_240)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    load = (options.messages, options.sessions, options.size)
    pairs = [(direct(*load), relayed(*load)) for _ in range(options.runs)]
    ratios = [through / without for without, through in pairs]
    for (without, through), ratio in zip(pairs, ratios, strict=True):
        print(f"direct {without:7.0f}/s   through the agent {through:7.0f}/s   ratio {ratio:.2f}")
    print(
        f"median ratio {statistics.median(ratios):.2f} of {options.runs} runs ({options.messages} x {options.size} B)"
    )
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    with (results / "relay.jsonl").open("a", encoding="utf-8") as out:
        row = {"at": time.time(), "cpus": os.cpu_count(), **vars(options), "direct_and_relayed": pairs}
        out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
