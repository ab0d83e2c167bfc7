"""`redrive cases plan` and `decide`: nothing is decided that nobody has seen, and nothing without a reason."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stream_redrive_cli.cases.api import CasesApi
from stream_redrive_cli.cases.following import follow
from stream_redrive_cli.cases.place import Api, CaseId, Place
from stream_redrive_cli.cases.selection import ActionOption, Except, Only, Patch, Replace, Selection
from stream_redrive_cli.cases.showing import counted, outcome, show_plan
from stream_redrive_cli.errors import CommandError, PartlyDoneError, StaleError, UsageError, WaitsForApprovalError
from stream_redrive_cli.options import DEFAULT_STACK, Output, OutputFormat, Profile, Region, Stack
from stream_redrive_cli.talking import agreed, tell, write_json
from stream_redrive_cli.visible import visible

_REASON = "say why"
# By status: who was to be told, and wasn't at once.
_LATER = {
    "decided": "the case's workflow could not be told at this moment; the service tells it later",
    "proposed": "the approvers could not be told at this moment; the service tells them later",
}


def plan(
    case: CaseId,
    action: ActionOption = None,
    only: Only = None,
    left_out: Except = None,
    patch: Patch = None,
    replace: Replace = None,
    stack: Stack = DEFAULT_STACK,
    api: Api = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputFormat = Output.TABLE,
) -> None:
    """Show what a decision would do, and the command that takes it. Nothing is changed."""
    selection = Selection.of(action, only, left_out, patch, replace)
    place = Place(stack, api, profile, region)
    found = place.connect().plan(case, selection.fields())
    command = place.command("decide", case, *selection.options(), "--digest", found["digest"], "--reason", _REASON)
    if output is Output.JSON:
        write_json({**found, "command": command})
        return
    show_plan(found, typer.echo)
    if not found["incomplete"]:
        typer.echo(visible(f"decide: {command}"))


def decide(
    case: CaseId,
    digest: Annotated[str, typer.Option(help="Of the plan, or of the proposal.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Why; kept with the decision.", show_default=False)],
    action: ActionOption = None,
    only: Only = None,
    left_out: Except = None,
    patch: Patch = None,
    replace: Replace = None,
    ticket: Annotated[str, typer.Option(help="Where it is tracked.", show_default=False)] = "",
    approve: Annotated[bool, typer.Option("--approve", help="Be the second person to say so.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it until the case is closed.")] = False,
    timeout: Annotated[float, typer.Option(help="Of --wait: seconds until it gives up.", min=0)] = 3600,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask. Needed without a terminal.")] = False,
    stack: Stack = DEFAULT_STACK,
    api: Api = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputFormat = Output.TABLE,
) -> None:
    """Decide about a case, as planned, or approve what somebody else has proposed.

    Exit codes: 3 some records failed again, or --wait gave up; 4 a second person must approve; 5 the plan is stale.
    """
    if not reason.strip():
        raise UsageError("--reason is empty: every decision says why")
    word = {"digest": digest, "reason": reason, **({"ticket": ticket} if ticket else {})}
    place = Place(stack, api, profile, region)
    if approve:
        if any((action, only, left_out, patch, replace)):
            raise UsageError("--approve takes the proposal as it is: give only --digest and --reason")
        cases = place.connect()
        request = _approval(cases, case, digest, ask=not yes)
    else:
        selection = Selection.of(action, only, left_out, patch, replace)
        request = selection.fields()
        cases = place.connect()
        if not yes:
            _ask(cases, case, request, digest)
    answer = cases.decide(case, {**request, **word})
    decided = answer["case"]
    if decided["status"] == "decided":
        tell(visible(f"decided: {decided['decision']['action']} {counted(decided['decision']['records'])}"))
    if not answer["told"]:
        tell(_LATER[decided["status"]])
    if wait and decided["status"] == "decided":
        decided = follow(cases, case, timeout)
        if decided["status"] != "decided":
            tell(visible(f"{decided['status']}: {outcome(decided)}"))
    if output is Output.JSON:
        write_json(decided)
    if wait and decided["status"] == "decided":
        raise PartlyDoneError(
            f"the decision stands and is still being carried out after {timeout:g} s: "
            f"see what comes of it with\n{place.command('show', case)}"
        )
    _end(decided, place)


def _approval(cases: CasesApi, case: str, digest: str, *, ask: bool) -> dict[str, Any]:
    """The proposal's action, which is all that an approval must repeat."""
    proposal = cases.show(case)["case"]["proposal"]
    if proposal is None or proposal["digest"] != digest:
        raise StaleError(f"case {case} has no proposal of this digest: look at it with `redrive cases show {case}`")
    tell(
        visible(
            f"{proposal['by']['arn']} has proposed at {proposal['at']} to {proposal['action']} "
            f"{counted(proposal['records'])}: {proposal['reason']}"
        )
    )
    if ask and not agreed("Approve it?"):
        raise CommandError("nothing was approved")
    return {"action": proposal["action"]}


def _ask(cases: CasesApi, case: str, request: dict[str, Any], digest: str) -> None:
    found = cases.plan(case, request)
    if found["digest"] != digest:
        raise StaleError("nothing was decided: the plan is another one by now; plan again to see it")
    show_plan(found, tell)
    if not agreed("Decide so?"):
        raise CommandError("nothing was decided")


def _end(case: dict[str, Any], place: Place) -> None:
    if case["status"] == "proposed":
        digest = case["proposal"]["digest"]
        command = place.command("decide", case["id"], "--approve", "--digest", digest, "--reason", _REASON, own=False)
        raise WaitsForApprovalError(f"a second person must approve, with:\n{command}")
    if again := (case["outcome"] or {}).get("failed_again"):
        raise PartlyDoneError(f"{counted(again)} failed again, and are in a new case")
