"""SweepCases: tell workflows and approvers of cases what they have missed, and start workflows that are not there."""

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive import bootstrap
from stream_redrive.observability import count, logger, metrics


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Sweep, as far as the time allows.

    Args:
        event: of the schedule; nothing in it matters.

    Returns:
        {"told", "started", "woken", "failed", "oldest_seconds", "complete"}

    Raises:
        CasesNotSwept: of some cases, after all others.
    """
    sweep = bootstrap.sweep_cases(context)()
    logger.info("swept", extra=asdict(sweep))
    count(OldestCaseSeconds=sweep.oldest_seconds, HandOversFailed=0)
    sweep.insist()
    return asdict(sweep)
