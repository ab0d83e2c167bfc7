"""ReviewCase: look at a case whose approvers have been silent."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.observability import CASE, count, logger, metrics


@logger.inject_lambda_context(correlation_id_path=CASE, clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Review.

    Args:
        event: {"case_id"}

    Returns:
        {"case_id", "wait_seconds", "decision": {"action": "remind" | "expired", or the decision made meanwhile}}
    """
    result = bootstrap.review_case(context)(event["case_id"])
    logger.info("reviewed", extra={"action": result.decision["action"], "wait_seconds": result.wait_seconds})
    count(CasesExpired=int(result.decision["action"] == "expired"))
    return result.to_dict()
