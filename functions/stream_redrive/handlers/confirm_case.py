"""ConfirmCase: find out which of a case's redriven records failed again."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.observability import CASE, count, logger, metrics


@logger.inject_lambda_context(correlation_id_path=CASE, clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Confirm, unless it is too early.

    Args:
        event: {"case_id", "confirmation": the result of the first call; absent in that}

    Returns:
        {"wait_seconds": until it must be called again, 0 when it is said, "sent", "failed_again", "unconfirmed"}
    """
    result = bootstrap.confirm_case(context)(event["case_id"], waited="confirmation" in event)
    logger.info("confirmed", extra=result.to_dict())
    count(RecordsFailedAgain=result.failed_again)
    return result.to_dict()
