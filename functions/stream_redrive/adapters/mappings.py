"""Lambda: the event source mappings of consumers."""

from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from stream_redrive.adapters.faults import error_code, faults_of
from stream_redrive.core.errors import AccessDenied
from stream_redrive.core.ports import MappingSettings

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_lambda.type_defs import EventSourceMappingConfigurationTypeDef

_LATEST = ":$LATEST"


class LambdaMappings:
    """The mappings that Lambda knows of."""

    def __init__(self, client: "LambdaClient") -> None:
        self._client = client

    def of(self, consumer: str, stream_arn: str) -> Sequence[MappingSettings]:
        """ListEventSourceMappings, all pages; of the consumer's own version or alias only."""
        function = consumer.removesuffix(_LATEST)
        with faults_of("lambda:ListEventSourceMappings"):
            try:
                pages = self._client.get_paginator("list_event_source_mappings").paginate(
                    FunctionName=function, EventSourceArn=stream_arn
                )
                found = [mapping for page in pages for mapping in page["EventSourceMappings"]]
            except ClientError as exc:
                if error_code(exc) == "ResourceNotFoundException":
                    return []
                raise
        return [_settings(mapping) for mapping in found if mapping["FunctionArn"].removesuffix(_LATEST) == function]


def _settings(mapping: "EventSourceMappingConfigurationTypeDef") -> MappingSettings:
    criteria = mapping.get("FilterCriteria")
    if not criteria and mapping.get("KMSKeyArn"):
        # An encrypted filter is left out of the list: a mapping that seems to have none may have one.
        raise AccessDenied(f"lambda:ListEventSourceMappings: the filters of {mapping['UUID']} are encrypted")
    return MappingSettings(
        filters=tuple(entry["Pattern"] for entry in (criteria or {}).get("Filters", ()) if "Pattern" in entry),
        parallelization_factor=mapping.get("ParallelizationFactor", 1),
        changed_at=mapping["LastModified"].astimezone(UTC),
    )
