"""CasesApi: people look at cases, plan and decide. A GET changes nothing; who asks is who signed."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.api import problems, requests
from stream_redrive.core.cases import Call
from stream_redrive.core.errors import RetryableError
from stream_redrive.core.refusals import Refusal
from stream_redrive.observability import count, logger, metrics

if TYPE_CHECKING:
    from stream_redrive.core.deciding import CaseDesk

app = APIGatewayHttpResolver()
app.exception_handler(Refusal)(problems.refused)
app.exception_handler(RetryableError)(problems.busy)
app.exception_handler(Exception)(problems.failed)
app.not_found(problems.not_found)


@app.get("/cases")
def list_cases() -> dict[str, Any]:
    """Cases that wait or are under way; with every=true all, the youngest first."""
    query = requests.read_cases_query(app.current_event.query_string_parameters)
    cases, following = _desk().cases(_call(), **query)
    return {"cases": [asdict(case) for case in cases], "next": following}


@app.get("/cases/<case_id>")
def show_case(case_id: str) -> dict[str, Any]:
    """A case, its notes and its history."""
    return asdict(_desk().show(_call(), case_id))


@app.get("/cases/<case_id>/records")
def list_records(case_id: str) -> dict[str, Any]:
    """Some of a case's records, masked."""
    query = requests.read_records_query(app.current_event.query_string_parameters)
    return {"records": [asdict(record) for record in _desk().records(_call(), case_id, **query)]}


@app.post("/cases/<case_id>/views")
def view_record(case_id: str) -> dict[str, Any]:
    """A record with its payload; the look is kept in the history."""
    return dict(_desk().view(_call(), case_id, _body("view")["record"]))


@app.post("/cases/<case_id>/plans")
def plan_decision(case_id: str) -> dict[str, Any]:
    """What a decision would do."""
    return asdict(_desk().plan(_call(), case_id, _body("plan")))


@app.post("/cases/<case_id>/decisions")
def decide(case_id: str) -> dict[str, Any]:
    """Decide, or approve what is proposed. Whom it concerns and could not be told now is told later."""
    body = _body("decision")
    return asdict(_desk().decide(_call(), case_id, body, requests.to_word(body)))


@app.post("/cases/<case_id>/notes")
def add_note(case_id: str) -> dict[str, Any]:
    """Add a note."""
    return asdict(_desk().note(_call(), case_id, _body("note")["text"]))


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer a request of the HTTP API, payload format 2.0; docs/openapi.json describes them."""
    count(HandOversFailed=0)
    return app.resolve(event, context)


def _desk() -> "CaseDesk":
    return bootstrap.cases_api(app.lambda_context)


def _call() -> Call:
    # Without the authorizer's block nobody has checked who asks, whatever else the request says.
    authorizer = app.current_event.raw_event["requestContext"].get("authorizer") or {}
    iam = authorizer.get("iam") or {}
    return Call(iam.get("userArn"), app.lambda_context.aws_request_id)


def _body(name: str) -> dict[str, Any]:
    return requests.read_body(app.current_event.decoded_body or "", name)
