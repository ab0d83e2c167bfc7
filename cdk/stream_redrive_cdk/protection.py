"""One consumer on one stream, by ARN, as the stack takes it from code or from a JSON file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from aws_cdk import Token


@dataclass(frozen=True, kw_only=True)
class Protection:
    """What `StreamRedrive.protect` needs for a consumer and a stream that exist already.

    consumer_arn: of the function, alias or version.
    consumer_role_arn: of the consumer's execution role, which is then given what the mapping needs; without it
        the deployment warns and says what to add by hand.
    stream_key_arn: of the key of an encrypted stream.
    filters: filter patterns of the mapping, as plain JSON objects.
    starting_position: TRIM_HORIZON or LATEST.
    accept_reports: whether the consumer uses `stream_redrive.reporting`; set STREAM_REDRIVE_LEDGER_TABLE in its
        environment to the output LedgerTableName.
    read_log: whether the service may look into the consumer's log for why records failed.
    log_group_name: where the consumer logs, when that is not /aws/lambda/<function name>.
    allow_probe: whether the service may invoke the consumer, where its policy says so.

    Raises ValueError for an ARN of something else, and for another starting position.
    """

    consumer_arn: str
    stream_arn: str
    consumer_role_arn: str | None = None
    stream_key_arn: str | None = None
    batch_size: int = 100
    max_batching_window_seconds: int = 0
    retry_attempts: int = 3
    max_record_age_seconds: int = 21_600
    parallelization_factor: int = 1
    report_batch_item_failures: bool = True
    filters: tuple[Mapping[str, Any], ...] = ()
    starting_position: str = "TRIM_HORIZON"
    accept_reports: bool = False
    read_log: bool = True
    log_group_name: str | None = None
    allow_probe: bool = False

    def __post_init__(self) -> None:
        if self.starting_position not in ("TRIM_HORIZON", "LATEST"):
            raise ValueError(f"starting_position is {self.starting_position!r}, not TRIM_HORIZON or LATEST")
        for name, arn, service, what in (
            ("consumer_arn", self.consumer_arn, "lambda", "a Lambda function"),
            ("stream_arn", self.stream_arn, "kinesis", "a Kinesis stream"),
        ):
            if not Token.is_unresolved(arn) and not re.match(rf"arn:[^:]+:{service}:", arn):
                raise ValueError(f"{name} is no ARN of {what}: {arn}")

    @classmethod
    def from_json(cls, document: Any) -> "Protection":
        """Read a JSON object with the fields of this class; raises ValueError that names what is wrong."""
        if not isinstance(document, Mapping):
            raise ValueError(f"a protection is a JSON object with consumer_arn and stream_arn, not {document!r}")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(document.keys() - known):
            raise ValueError(f"unknown in a protection: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        if missing := [name for name in ("consumer_arn", "stream_arn") if not document.get(name)]:
            raise ValueError(f"missing in a protection: {', '.join(missing)}")
        return cls(**{**document, "filters": tuple(document.get("filters", ()))})
