"""CaptureRecords: copy an incident's records from the stream into the vault."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.core.incident import Incident
from stream_redrive.observability import CORRELATION, count, logger, metrics


@logger.inject_lambda_context(correlation_id_path=CORRELATION, clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Capture, as far as the time allows.

    Args:
        event: {"incident": …}

    Returns:
        {"more", "outcome", "records", "chunks", "missing"}: counts, and whether to call again.
    """
    result = bootstrap.capture_records(context)(Incident.from_input(event["incident"]))
    logger.info("captured", extra=result.to_dict())
    captured = 0 if result.more else result.records  # the last run of several counts for all of them
    count(RecordsCaptured=captured, RecordsExpired=result.missing, RecordsAmbiguous=result.ambiguous)
    return result.to_dict()
