"""CDK constructs that put the stream-redrive service behind a Lambda consumer of a Kinesis stream."""

from stream_redrive_cdk.construct import StreamRedrive
from stream_redrive_cdk.policy import InvalidPolicyError
from stream_redrive_cdk.protection import Protection
from stream_redrive_cdk.stack import StreamRedriveStack

__all__ = ["InvalidPolicyError", "Protection", "StreamRedrive", "StreamRedriveStack"]
