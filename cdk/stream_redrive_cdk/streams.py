"""The streams that the service may read and write."""

from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_

from stream_redrive_cdk.permissions import GrowingGrant

# CaptureRecords reads a notice's range. RedriveRecords writes, and after a cut call reads back what had landed.
_CAPTURE = ("kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards")
_REDRIVE = (*_CAPTURE, "kinesis:PutRecords")


class WatchedStreams:
    """Grants CaptureRecords and RedriveRecords their streams; naming a stream again changes nothing."""

    def __init__(self, *, capture_records: lambda_.IFunction, redrive_records: lambda_.IFunction) -> None:
        self._streams = [
            GrowingGrant(capture_records, _CAPTURE),
            GrowingGrant(redrive_records, _REDRIVE),
        ]
        self._keys = [
            GrowingGrant(capture_records, ["kms:Decrypt"]),
            GrowingGrant(redrive_records, ["kms:Decrypt", "kms:GenerateDataKey"]),
        ]

    def add(self, stream: kinesis.IStream, key: kms.IKey | None) -> None:
        """Grant `stream`, and the `key` that encrypts it."""
        for grant in self._streams:
            grant.cover(stream.stream_arn)
        if key is not None:
            for grant in self._keys:
                grant.cover(key.key_arn)
