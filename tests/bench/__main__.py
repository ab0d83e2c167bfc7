"""`make bench`: the figures that the design promises, each beside its bar.

Figures are counts and ratios, so that a busy machine doesn't matter; CPU is the process's own time, median of runs.
"""

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import cost, counted

HANDLERS = Path(__file__).parents[2] / "functions" / "stream_redrive" / "handlers"
BASELINE = "import boto3, aws_lambda_powertools.utilities.batch; from aws_lambda_powertools import Logger, Metrics"
SHARD_SECONDS = 10.0  # what a shard needs to take 10,000 records back: 1,000 a second

FIGURES = ("cpu_seconds", "classify_seconds", "peak_mib")

Row = tuple[str, str, str, bool]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The functions log to stdout, as Lambda wants it."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _measure(records: int, runs: int) -> dict[str, Any]:
    """Median CPU and peak memory of the pipeline, each run in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.pipeline", str(records)]
    results = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(runs)]
    return {key: statistics.median(result[key] for result in results) for key in FIGURES}


def _cpu_of(code: str) -> float:
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _calls(incident: counted.Counted) -> Row:
    calls = dict(incident.calls)
    reads = calls.pop("kinesis.GetRecords", 0)
    iterators = calls.pop("kinesis.GetShardIterator", 0)
    puts = calls.pop("kinesis.PutRecords", 0)
    others = sum(calls.values())
    return (
        "AWS calls, one incident of 10,000 records in 100 notices",
        f"GetRecords {reads}, GetShardIterator {iterators}, PutRecords {puts}, others {others}",
        "≤ 3, ≤ 2, ≤ 22, ≤ 700",
        reads <= 3 and iterators <= 2 and puts <= 22 and others <= 700,
    )


def _transitions(thousand: counted.Counted) -> Row:
    return (
        "state transitions, 1,000 notices of a shard in one window",
        f"{thousand.transitions} in {thousand.executions} execution",
        "≤ 20",
        thousand.transitions <= 20,
    )


def _bill(console: Console, incident: counted.Counted, cpu_seconds: float) -> Row:
    parts = cost.bill(
        incident.calls, transitions=incident.transitions, records=10_000, poison=0, notices=100, cpu_seconds=cpu_seconds
    )
    table = Table("of a million redriven records", "USD", title="Cost")
    for part in sorted(parts, key=lambda p: -p.usd):
        table.add_row(part.name, f"{part.usd * 100:.3f}")
    console.print(table)
    total = sum(part.usd for part in parts) * 100
    return "cost of a million such records", f"{total:.2f} USD", "≤ 3 USD", total <= 3


def _growth(few: dict[str, Any], many: dict[str, Any]) -> Row:
    cpu = many["cpu_seconds"] / 100_000 / (few["cpu_seconds"] / 1_000)
    memory = many["peak_mib"] / few["peak_mib"]
    return (
        "from 1,000 to 100,000 records: CPU a record, peak memory",
        f"x {cpu:.2f}, x {memory:.2f} ({few['peak_mib']:.0f} to {many['peak_mib']:.0f} MiB)",
        "≤ x 1.10, ≤ x 1.20",
        cpu <= 1.1 and memory <= 1.2,
    )


def _one_case(equal: counted.OneCase) -> Row:
    rate = equal.writes / equal.seconds
    return (
        f"{equal.records:,} equal records in quarantine: cases, writes to the case's own item",
        f"{equal.cases} case, {equal.executions} execution, {equal.writes} writes, {rate:.2f} a second",
        "1 case, ≤ 3 a second",
        (equal.cases, equal.executions) == (1, 1) and rate <= 3,
    )


def _imports() -> Row:
    modules = sorted(path.stem for path in HANDLERS.glob("*.py") if path.stem != "__init__")
    ratios: dict[str, list[float]] = {module: [] for module in modules}
    for _ in range(7):
        for module in modules:
            ratios[module].append(_cpu_of(f"import stream_redrive.handlers.{module}") / _cpu_of(BASELINE))
    medians = {module: statistics.median(values) for module, values in ratios.items()}
    worst = max(medians, key=lambda module: medians[module])
    return (
        "import of a handler over boto3 and Powertools alone",
        f"x {medians[worst]:.2f} ({worst})",
        "≤ x 1.3",
        medians[worst] <= 1.3,
    )


def main() -> int:
    """Measure, print the table, and say with the exit code whether every bar is met."""
    console = Console(width=140)
    with _quiet():
        incident = counted.incident_of(records=10_000, notices=100)
        thousand = counted.incident_of(records=1_000, notices=1_000)
        equal = counted.equal_records(50_000)
    few, ten, many = _measure(1_000, runs=5), _measure(10_000, runs=3), _measure(100_000, runs=1)
    share, classification = (ten[key] / SHARD_SECONDS for key in ("cpu_seconds", "classify_seconds"))
    rows = [
        _calls(incident),
        _transitions(thousand),
        _bill(console, incident, ten["cpu_seconds"]),
        (
            "CPU of 10,000 records: capture, classify with a schema, pack",
            f"{share:.1%} of one core",
            "≤ 20 %",
            share <= 0.2,
        ),
        (
            "classification of 10,000 records of 1 KB with a schema and the default rules",
            f"{classification:.1%} of one core over 10 s",
            "≤ 5 %",
            classification <= 0.05,
        ),
        _growth(few, many),
        _one_case(equal),
        _imports(),
    ]
    detail = Table("call", "count", title="Calls of the 10,000 records")
    for call, number in incident.calls.most_common():
        detail.add_row(call, str(number))
    console.print(detail)
    table = Table("figure", "measured", "bar", "", title="Figures")
    for figure, measured, bar, met in rows:
        table.add_row(figure, measured, bar, "met" if met else "NOT MET")
    console.print(table)
    return 0 if all(met for *_, met in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
