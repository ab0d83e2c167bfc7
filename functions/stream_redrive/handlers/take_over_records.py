"""TakeOverRecords: let a case take over the records that the decided case before it left over."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.observability import CASE, count, logger, metrics


@logger.inject_lambda_context(correlation_id_path=CASE, clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take over; a case that has nothing to take over stays as it is.

    Args:
        event: {"case_id"}

    Returns:
        {"records": how many it has taken over}
    """
    records = bootstrap.take_over_records(context)(event["case_id"])
    logger.info("taken over", extra={"records": records})
    count(RecordsTakenOver=records)
    return {"records": records}
