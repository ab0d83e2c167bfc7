"""Powertools' BatchProcessor that reports why records failed."""

from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, FailureResponse, SuccessResponse

from stream_redrive.reporting import Failure, send_reports


class ReportingBatchProcessor(BatchProcessor):
    """A BatchProcessor whose partial batch response is the parent's, and which reports each failed record."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """The parent's arguments."""
        super().__init__(*arguments, **named)
        self._failures: list[Failure] = []

    def _process_record(self, record: dict[str, Any]) -> SuccessResponse | FailureResponse:
        # Here and not in failure_handler, which with a `model` gets the parsed record, or none.
        known = len(self.exceptions)
        outcome = super()._process_record(record)
        self._failures += [(record, error) for _, error, _ in self.exceptions[known:] if error is not None]
        return outcome

    def _prepare(self) -> None:
        self._failures = []
        super()._prepare()  # type: ignore[no-untyped-call]  # Powertools leaves it untyped

    def _clean(self) -> None:
        # Before the parent, which raises when the whole batch has failed.
        send_reports(self._failures)
        super()._clean()  # type: ignore[no-untyped-call]  # Powertools leaves it untyped
