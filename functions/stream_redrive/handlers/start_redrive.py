"""StartRedrive: notices from the intake queue become executions of the redrive machine."""

from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.core.notices import parse_notice
from stream_redrive.core.start import Arrival
from stream_redrive.observability import count, logger, metrics


def _parse(record: SQSRecord) -> Arrival:
    return Arrival(record.message_id, *parse_notice(record.body))


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Start an execution for each shard's notices.

    Args:
        event: a batch of the intake queue.

    Returns:
        the partial batch response: messages that are no notices, and those whose execution could not be started.
        After their last receive the queue moves them to its dead-letter queue.
    """
    processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    with processor(records=event["Records"], handler=_parse, lambda_context=context):
        parsed = processor.process()
    result = bootstrap.start_redrive()([outcome for status, outcome, _ in parsed if status == "success"])
    malformed = [(record.message_id, problem) for status, problem, record in parsed if status == "fail"]
    for message_id, problem in malformed:
        logger.error("malformed notice", extra={"message_id": message_id, "problem": problem})
    for message_id, problem in result.failed.items():
        logger.error("incident not started", extra={"message_id": message_id, "problem": str(problem)})
    logger.info("incidents started", extra={"incidents": result.incidents, "notices": len(parsed) - len(malformed)})
    count(NoticesReceived=len(parsed), NoticesMalformed=len(malformed), IncidentsStarted=len(result.incidents))
    failed = [message_id for message_id, _ in malformed] + list(result.failed)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
