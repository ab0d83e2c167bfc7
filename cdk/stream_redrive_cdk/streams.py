"""The streams that the service may read and write."""

from collections.abc import Sequence

from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_

from stream_redrive_cdk.permissions import GrowingGrant

# CaptureRecords reads a notice's range. Who redrives writes, and after a cut call reads back what had landed.
_CAPTURE = ("kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards")
_REDRIVE = (*_CAPTURE, "kinesis:PutRecords")


class WatchedStreams:
    """Grants those who read and who redrive their streams; naming a stream again changes nothing."""

    def __init__(self, *, capture_records: lambda_.IFunction, redriving: Sequence[lambda_.IFunction]) -> None:
        self._streams = [
            GrowingGrant(capture_records, _CAPTURE),
            *(GrowingGrant(function, _REDRIVE) for function in redriving),
        ]
        self._keys = [
            GrowingGrant(capture_records, ["kms:Decrypt"]),
            *(GrowingGrant(function, ["kms:Decrypt", "kms:GenerateDataKey"]) for function in redriving),
        ]

    def add(self, stream: kinesis.IStream, key: kms.IKey | None) -> None:
        """Grant `stream`, and the `key` that encrypts it."""
        for grant in self._streams:
            grant.cover(stream.stream_arn)
        if key is not None:
            for grant in self._keys:
                grant.cover(key.key_arn)
