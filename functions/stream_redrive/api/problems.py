"""Problems: which status each refusal and error has, and the answer that names it."""

import json
import traceback

from aws_lambda_powertools.event_handler import Response, content_types

from stream_redrive.core import refusals
from stream_redrive.core.errors import RetryableError
from stream_redrive.observability import logger

STATUS: dict[type[refusals.Refusal], int] = {
    refusals.MalformedRequest: 400,
    refusals.ReasonMissing: 400,
    refusals.NotSigned: 403,
    refusals.NotAnApprover: 403,
    refusals.UnknownCase: 404,
    refusals.UnknownRecord: 404,
    refusals.StaleDigest: 409,
    refusals.AlreadyDecided: 409,
    refusals.SelfApproval: 409,
    refusals.PlanIncomplete: 409,
    refusals.CaseExpired: 410,
    refusals.RequestTooLarge: 413,
    refusals.NothingEligible: 422,
    refusals.InvalidPatch: 422,
    refusals.PatchFails: 422,
    refusals.NotEditable: 422,
    refusals.EmptyPayload: 422,
    refusals.PayloadTooLarge: 422,
    refusals.SchemaStillBroken: 422,
}


def refused(refusal: refusals.Refusal) -> Response[str]:
    """The answer to a request that is refused."""
    name = type(refusal).__name__
    logger.info("refused", extra={"refusal": name})
    return _answer(STATUS[type(refusal)], name, str(refusal))


def busy(error: RetryableError) -> Response[str]:
    """The answer where the same request may succeed in a moment."""
    name = type(error).__name__
    logger.warning("not answered", extra={"problem": name})
    return _answer(503, name, "nothing is certain to have changed: look at the case, and try again")


def failed(error: Exception) -> Response[str]:
    """The answer to what nobody foresaw. Its text may quote a record: only where it happened is logged."""
    where = traceback.format_tb(error.__traceback__)
    logger.error("failed", extra={"problem": type(error).__name__, "where": where})
    return _answer(500, "InternalError", "the request failed; the function's log says where")


def not_found(_: Exception) -> Response[str]:
    """The answer where there is no such route."""
    return _answer(404, "UnknownRoute", "there is no such route")


def _answer(status: int, name: str, message: str) -> Response[str]:
    return Response(status, content_types.APPLICATION_JSON, json.dumps({"error": name, "message": message}))
