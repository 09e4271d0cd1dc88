"""Where figures go: a table on the screen, and JSON lines in bench/results/."""

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def keep(benchmark: str, **figures: Any) -> None:
    """Append one line of raw figures, with the machine they are from."""
    RESULTS.mkdir(exist_ok=True)
    row = {
        "at": time.time(), "benchmark": benchmark, "cpus": os.cpu_count(), "python": platform.python_version(),
        "machine": platform.machine(), "kernel": platform.release(), **figures,
    }  # fmt: skip
    with (RESULTS / f"{benchmark}.jsonl").open("a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print `rows` in columns, the first row being their names: text left, numbers right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if column == 0 or column == len(row) - 1 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip(), flush=True)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def rate(values: Sequence[float]) -> str:
    """The median."""
    return f"{statistics.median(values):.0f}/s" if values else "-"


def ratio(above: Sequence[float], below: Sequence[float]) -> str:
    """The median of the ratios of figures that were taken in one round."""
    return f"{statistics.median(a / b for a, b in zip(above, below, strict=True)):.2f}" if above and below else "-"
