"""Powertools' BatchProcessor that reports why records failed."""

from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, ExceptionInfo, FailureResponse

from stream_redrive.reporting import Failure, send_reports


class ReportingBatchProcessor(BatchProcessor):
    """A BatchProcessor whose partial batch response is the parent's, and which reports each failed record."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """The parent's arguments."""
        super().__init__(*arguments, **named)
        self._failures: list[Failure] = []

    def failure_handler(self, record: Any, exception: ExceptionInfo) -> FailureResponse:
        """Keep the failure for the report, then do as the parent does."""
        raw, error = getattr(record, "raw_event", None), exception[1]
        if raw is not None and error is not None:
            self._failures.append((raw, error))
        return super().failure_handler(record, exception)

    def _prepare(self) -> None:
        self._failures = []
        super()._prepare()  # type: ignore[no-untyped-call]  # Powertools leaves it untyped

    def _clean(self) -> None:
        # Before the parent, which raises when the whole batch has failed.
        send_reports(self._failures)
        super()._clean()  # type: ignore[no-untyped-call]  # Powertools leaves it untyped
