"""ClassifyRecords: give each captured record a verdict."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.core.incident import Incident
from stream_redrive.observability import CORRELATION, count, logger, metrics


@logger.inject_lambda_context(correlation_id_path=CORRELATION, clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Classify.

    Args:
        event: {"incident": …}

    Returns:
        {"verdicts": {"transient", "poison", "held"}, "processed", "strangers", "quarantine", "redrive",
        "backoff_seconds", "target", "alarming", "log_unreadable"}
    """
    result = bootstrap.classify_records(context)(Incident.from_input(event["incident"]))
    logger.info("classified", extra=result.to_dict())
    count(
        RecordsTransient=result.verdicts["transient"],
        RecordsPoison=result.verdicts["poison"],
        RecordsHeld=result.verdicts["held"],
        RecordsNeedingAttention=result.alarming,
        ConsumerLogUnreadable=int(result.log_unreadable),
    )
    return result.to_dict()
