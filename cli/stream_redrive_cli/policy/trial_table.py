"""Shows the result of a trial to a person: counts, then examples of what would change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.table import Table
from rich.text import Text

from stream_redrive.core.policy import Verdict
from stream_redrive_cli.policy.trial import NONE, Changed, Opinion, Trial
from stream_redrive_cli.visible import visible


def matrix_table(trial: Trial) -> Table:
    """Counts of records by verdict then (rows) and now (columns)."""
    table = Table()
    table.add_column("then \\ now", no_wrap=True)
    for now in Verdict:
        table.add_column(now.value, justify="right", no_wrap=True)
    for then in [*(verdict.value for verdict in Verdict), NONE]:
        counts = {now.value: trial.matrix[then, now.value] for now in Verdict}
        if then != NONE or any(counts.values()):
            cells = [Text(str(count), "bold" if count and then != now else "") for now, count in counts.items()]
            table.add_row(then, *cells)
    return table


def print_examples(trial: Trial, most: int, write: Callable[[str], None]) -> None:
    """The summary, then examples: one of each kind of change before a second of any, other verdicts first."""
    write(_summary(trial))
    for note in trial.notes:
        write(visible(f"note: {note}"))
    shown = list(_in_turn(trial.changes))[:most]
    for changed, alike in shown:
        key = "no partition key" if changed.partition_key is None else f"key {changed.partition_key}"
        write("")
        write(visible(f"{_name(changed.then)} -> {_name(changed.now)}, records like this: {alike}"))
        write(visible(f"  {changed.shard_id} {changed.sequence_number}, {key}, redriven {changed.attempt} times"))
        if changed.then:
            write(visible(f"  then: {changed.then.reason}"))
        write(visible(f"  now:  {changed.now.reason}"))
    if rest := len(trial.changes) - len(shown):
        write("")
        write(f"{rest} more: --examples N, or all of them with --output json")


def _summary(trial: Trial) -> str:
    judged = trial.records - trial.unjudged
    parts = [f"{trial.records} records"]
    if judged:
        parts.append(f"{trial.other_verdict} of {judged} would get another verdict")
        parts.append(f"{trial.other_reason} the same for another rule or reason")
    if trial.unjudged:
        parts.append(f"{trial.unjudged} had no verdict")
    return "; ".join(parts)


def _name(opinion: Opinion | None) -> str:
    return f"{opinion.verdict} ({opinion.rule})" if opinion else NONE


def _in_turn(changes: Sequence[Changed]) -> Iterator[tuple[Changed, int]]:
    """The changes with how many there are of their kind."""
    kinds: dict[tuple[str, str], list[Changed]] = {}
    for changed in changes:
        kinds.setdefault((_name(changed.then), _name(changed.now)), []).append(changed)
    ordered = sorted(kinds.values(), key=lambda alike: (not _is_other_verdict(alike[0]), -len(alike)))
    for turn in range(max(map(len, ordered), default=0)):
        for alike in ordered:
            if turn < len(alike):
                yield alike[turn], len(alike)


def _is_other_verdict(changed: Changed) -> bool:
    return changed.then is not None and changed.then.verdict != changed.now.verdict
