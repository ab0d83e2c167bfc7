"""CloseIncident: account for every record of an incident."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.core.incident import Incident
from stream_redrive.observability import CORRELATION, logger


@logger.inject_lambda_context(correlation_id_path=CORRELATION, clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Compose the incident's output.

    Args:
        event: {"incident": …, "verdicts": …, "redrive": …, "quarantined": n, "processed": n, "strangers": n}; the last
            two are absent in executions that began under version 0.1.0

    Returns:
        the incident's output (docs/architecture.md, contracts)
    """
    output = bootstrap.close_incident()(
        Incident.from_input(event["incident"]),
        verdicts=event["verdicts"],
        redrive=event["redrive"],
        quarantined=event["quarantined"],
        processed=event.get("processed", 0),
        strangers=event.get("strangers", 0),
    )
    logger.info("incident closed", extra={"verdicts": output["verdicts"], "redrive": output["redrive"]})
    return output
