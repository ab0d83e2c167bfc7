"""ParkIncident: put an incident that could not be finished on the poison queue."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.observability import CORRELATION, count, logger, metrics


@logger.inject_lambda_context(correlation_id_path=CORRELATION, clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Park.

    Args:
        event: {"incident": …, "failure": {"Error", "Cause"}, "execution_arn": …}

    Returns:
        {"error": the error's name}
    """
    park = bootstrap.park_incident(context)
    parked = park(event["incident"], event["failure"], event["execution_arn"])
    logger.error("incident parked", extra=parked)
    count(IncidentsParked=1)
    return parked
