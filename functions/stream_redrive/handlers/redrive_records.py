"""RedriveRecords: send an incident's transient records to their target again."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.core.incident import Incident
from stream_redrive.observability import CORRELATION, count, logger, metrics


@logger.inject_lambda_context(correlation_id_path=CORRELATION, clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Redrive, as far as the time allows.

    Args:
        event: {"incident": …, "target": …}

    Returns:
        {"more", "summary": {"target", "sent", "healed", "unconfirmed", "failed_again", "attempts"}}
    """
    result = bootstrap.redrive_records(context)(Incident.from_input(event["incident"]), event["target"])
    logger.info("redriven", extra=result.to_dict())
    count(RecordsRedriven=0 if result.more else result.summary.sent)  # the last run of several counts for all of them
    return result.to_dict()
