"""Logger and metrics of all functions. Logs carry ids and counts, never a payload; metrics one dimension, service."""

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

# Ids go into a log's fields, not into dimensions: each new dimension value is a new, billed metric.
CORRELATION = "incident.id"
CASE = "case_id"

logger = Logger()
metrics = Metrics(namespace="StreamRedrive")


def count(**counters: int) -> None:
    """Add counters, by metric name, to what the invocation reports. A zero shows that somebody looked."""
    for name, value in counters.items():
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
