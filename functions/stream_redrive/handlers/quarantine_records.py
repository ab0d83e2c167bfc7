"""QuarantineRecords: put poison and held records into quarantine and on the poison queue."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.core.incident import Incident
from stream_redrive.observability import CORRELATION, count, logger, metrics


@logger.inject_lambda_context(correlation_id_path=CORRELATION, clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Quarantine.

    Args:
        event: {"incident": …, "execution_arn": …}

    Returns:
        {"records": how many are in quarantine}
    """
    result = bootstrap.quarantine_records(context)(Incident.from_input(event["incident"]), event["execution_arn"])
    logger.info("quarantined", extra={"records": result.records})
    count(RecordsQuarantined=result.records)
    return {"records": result.records}
