"""NotifyApprovers: tell those who decide about a case, while its workflow waits for them."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.observability import CASE, count, logger, metrics


# log_event: whoever has the task token can decide; no setting may bring the event into the log.
@logger.inject_lambda_context(correlation_id_path=CASE, clear_state=True, log_event=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Notify.

    Args:
        event: {"case_id", "token": by which the waiting task is answered}

    Returns:
        {"notified": whether a message was sent; not where the case is decided already}
    """
    notified = bootstrap.notify_approvers(context)(event["case_id"], event["token"])
    logger.info("approvers notified" if notified else "decided already")
    count(ApproversNotified=int(notified))
    return {"notified": notified}
