"""The commands `redrive policy show`, `set` and `test`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from stream_redrive_cli.deployed import Deployed
from stream_redrive_cli.errors import CommandError, UsageError
from stream_redrive_cli.options import DEFAULT_STACK, Output, OutputFormat, Profile, Region, Stack
from stream_redrive_cli.policy.document import check_document, read_document
from stream_redrive_cli.policy.effective import effective_policy, resolved_consumer
from stream_redrive_cli.policy.file_subjects import file_subject, read_file
from stream_redrive_cli.policy.parameter import PolicyParameter, book_in_force, in_force, version_of
from stream_redrive_cli.policy.setting import Plan, apply, plan, valid_reason
from stream_redrive_cli.policy.showing import consumer_table, describe, described
from stream_redrive_cli.policy.subjects import Subject
from stream_redrive_cli.policy.trial import try_policy
from stream_redrive_cli.policy.trial_table import matrix_table, print_examples
from stream_redrive_cli.policy.vault_subjects import VaultPlaces, chunk_subject, incident_subject
from stream_redrive_cli.talking import agreed, console, tell, write_json
from stream_redrive_cli.visible import visible

app = typer.Typer(no_args_is_help=True, help="What is done with failed records: look at it, change it, try a change.")

Parameter = Annotated[
    str | None,
    typer.Option(help="The SSM parameter of the policy, instead of the stack's output.", show_default=False),
]
PolicyFile = Annotated[Path, typer.Argument(help="A policy document (JSON).", metavar="FILE")]


@app.command()
def show(
    version: Annotated[int | None, typer.Option(help="A version of the parameter.", min=1, show_default=False)] = None,
    consumer: Annotated[
        str | None, typer.Option(help="A function's name or ARN: its policy with all defaults.", show_default=False)
    ] = None,
    stack: Stack = DEFAULT_STACK,
    parameter: Parameter = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputFormat = Output.TABLE,
) -> None:
    """Show the policy as it is stored, or what it comes to for one consumer.

    The document goes to stdout as it is stored, what is known about it to stderr.
    """
    stored = _parameter(profile, region, stack, parameter)
    history = stored.history()
    forced = in_force(history)
    if consumer is None:
        chosen = history[0] if version is None else version_of(history, version)
        if output is Output.JSON:
            write_json(described(stored.name, chosen, forced))
        else:
            describe(stored.name, chosen, forced, tell)
            typer.echo(visible(chosen.text.replace("\r\n", "\n"), keep="\n\t"))
        return
    source = forced if version is None else version_of(history, version)
    text = source.text if source else "{}"
    effective = effective_policy(source.book() if source else book_in_force(None), json.loads(text), consumer)
    if output is Output.JSON:
        write_json({"parameter": stored.name, "version": source.number if source else None, **effective.to_dict()})
        return
    tell(f"{stored.name}, " + (f"version {source.number}" if source else "no valid version: built-in defaults"))
    tell(f"entry: consumers.{effective.entry}" if effective.entry else "no entry of its own")
    console().print(consumer_table(effective))


@app.command("set")
def replace(
    file: PolicyFile,
    reason: Annotated[str, typer.Option(help="Why; kept with the version.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask. Needed without a terminal.")] = False,
    stack: Stack = DEFAULT_STACK,
    parameter: Parameter = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputFormat = Output.TABLE,
) -> None:
    """Validate a policy, show what it changes, and write it as a new version."""
    why, text = valid_reason(reason), read_document(file)
    check_document(text, str(file))
    stored = _parameter(profile, region, stack, parameter)
    planned = plan(stored, text)
    _show_plan(planned, str(file), output)
    if planned.needed:
        if not (yes or agreed(f"Write version {planned.number} of {stored.name}?")):
            raise CommandError("nothing was written")
        apply(stored, planned, why)
        tell(f"version {planned.number} is written; it is in force within a minute")
    if output is Output.JSON:
        write_json({"parameter": stored.name, "reason": why if planned.needed else None, **planned.to_dict()})


@app.command("test")
def try_out(
    file: PolicyFile,
    incident: Annotated[
        str | None, typer.Option(help="Try it on a past incident, by id.", metavar="ID", show_default=False)
    ] = None,
    chunk: Annotated[
        str | None,
        typer.Option(help="Try it on a chunk: s3://… or a file.", metavar="CHUNK", show_default=False),
    ] = None,
    records: Annotated[
        Path | None, typer.Option(help="Try it on a file of records.", metavar="FILE", show_default=False)
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="With --records: the lines are payloads alone.")] = False,
    consumer: Annotated[
        str | None,
        typer.Option(help="The function's name or ARN, where the records don't tell.", show_default=False),
    ] = None,
    examples: Annotated[int, typer.Option(help="How many changed records to show.", min=0)] = 10,
    vault: Annotated[
        str | None, typer.Option(help="The vault bucket, instead of the stack's outputs.", show_default=False)
    ] = None,
    ledger: Annotated[
        str | None, typer.Option(help="The ledger table, together with --vault.", show_default=False)
    ] = None,
    stack: Stack = DEFAULT_STACK,
    profile: Profile = None,
    region: Region = None,
    output: OutputFormat = Output.TABLE,
) -> None:
    """Try a policy on records and show which verdicts would change. Nothing is written, sent or redriven."""
    if [incident, chunk, records].count(None) != 2:
        raise UsageError("name what to try it on: one of --incident, --chunk, --records")
    if plain and records is None:
        raise UsageError("--plain is for --records")
    book = check_document(read_document(file), str(file))
    named = resolved_consumer(book, consumer) if consumer else None
    places = VaultPlaces(Deployed(profile, region, stack), vault, ledger) if records is None else None
    subject = _subject(places, incident, chunk, records, named, plain)
    trial = try_policy(book, subject)
    if output is Output.JSON:
        write_json(trial.to_dict())
        return
    tell(visible(f"{subject.name}, consumer {subject.consumer or 'unknown'}, policy {file}"))
    console().print(matrix_table(trial))
    print_examples(trial, examples, typer.echo)


def _subject(
    places: VaultPlaces | None,
    incident: str | None,
    chunk: str | None,
    records: Path | None,
    consumer: str | None,
    plain: bool,
) -> Subject:
    if records is not None:
        return file_subject(str(records), read_file(records), consumer, plain=plain)
    assert places is not None
    if chunk is not None and not chunk.startswith("s3://"):
        return file_subject(chunk, read_file(Path(chunk)), consumer, plain=False)
    if chunk is not None:
        return chunk_subject(places, chunk, consumer)
    assert incident is not None
    return incident_subject(places.vault(), places.ledger(), incident, consumer)


def _show_plan(planned: Plan, file: str, output: Output) -> None:
    def write(line: str) -> None:
        typer.echo(visible(line), err=output is Output.JSON)

    if planned.newest_fault:
        tell(visible(f"version {planned.newest} is invalid and not in force: {planned.newest_fault}"))
    if not planned.needed:
        tell(f"nothing to change: version {planned.newest} says the same")
        return
    write(f"--- {planned.in_force}, in force")
    write(f"+++ {file}")
    for change in planned.changes:
        for line in change.lines():
            write(line)


def _parameter(profile: str | None, region: str | None, stack: str, parameter: str | None) -> PolicyParameter:
    deployed = Deployed(profile, region, stack)
    return PolicyParameter(deployed.ssm, parameter or deployed.output("PolicyParameterName"))
