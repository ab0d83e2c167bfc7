"""SettleCase: mark a decided case's records, take their messages off the poison queue, close the case."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.observability import CASE, count, logger, metrics


@logger.inject_lambda_context(correlation_id_path=CASE, clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Settle, as far as the time allows.

    Args:
        event: {"case_id", "confirmation": ConfirmCase's result; absent when nothing was redriven}

    Returns:
        {"more", "wait_seconds", "outcome": counts by state}
    """
    confirmed = {name: n for name, n in event.get("confirmation", {}).items() if name != "wait_seconds"}
    result = bootstrap.settle_case(context)(event["case_id"], confirmed)
    logger.info("settled", extra=result.to_dict())
    count(CasesClosed=0 if result.more else 1)
    return result.to_dict()
