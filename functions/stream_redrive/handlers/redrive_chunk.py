"""RedriveChunk: send the records of one chunk that a person decided about."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.core.work_list import WorkChunk
from stream_redrive.observability import CASE, count, logger, metrics


@logger.inject_lambda_context(correlation_id_path=CASE, clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Redrive, as far as the time allows.

    Args:
        event: {"case_id", "chunk": an entry of the decision's work list}

    Returns:
        {"more", "sent": how many records of the chunk in all}
    """
    sent = bootstrap.redrive_chunk(context)(event["case_id"], WorkChunk.from_dict(event["chunk"]))
    logger.info("chunk redriven", extra={"index": event["chunk"]["index"], "sent": sent.sent, "more": sent.more})
    count(RecordsRedriven=0 if sent.more else sent.sent)  # the last run of several counts for all of them
    return {"more": sent.more, "sent": sent.sent}
