"""OpenCases: start a workflow for each case that the incident's records have opened."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.core.incident import Incident
from stream_redrive.observability import CORRELATION, logger


@logger.inject_lambda_context(correlation_id_path=CORRELATION, clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Start them.

    Args:
        event: {"incident": …}

    Returns:
        {"cases": how many cases the incident's records are in}
    """
    cases = bootstrap.open_cases(context)(Incident.from_input(event["incident"]))
    logger.info("cases opened", extra={"cases": len(cases)})
    return {"cases": len(cases)}
