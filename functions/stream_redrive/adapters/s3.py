"""S3: the vault."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from stream_redrive.adapters.faults import error_code, faults_of
from stream_redrive.core.errors import VaultObjectMissing, WriteConflict
from stream_redrive.core.ports import StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MAX_ROUNDS = 5


class S3Vault:
    """The vault in a bucket."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._bucket

    def put_new(self, key: str, body: bytes) -> bool:
        """PutObject with If-None-Match: 412 says that the object is there, 409 that another write is under way."""
        with faults_of("s3:PutObject"):
            try:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*")
            except ClientError as exc:
                if error_code(exc) == "PreconditionFailed":
                    return False
                if error_code(exc) == "ConditionalRequestConflict":
                    raise WriteConflict(f"another write to {key} is under way") from exc
                raise
        return True

    def put(self, key: str, body: bytes) -> None:
        """PutObject."""
        with faults_of("s3:PutObject"):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body)

    def get(self, key: str) -> bytes:
        """GetObject."""
        with faults_of("s3:GetObject"):
            return self._read(key)[0]

    def revise(self, key: str, change: Callable[[bytes], bytes]) -> bytes:
        """GetObject, then PutObject with If-Match; from the start when another write came between."""
        for _ in range(_MAX_ROUNDS):
            with faults_of("s3:GetObject"):
                body, tag = self._read(key)
            revised = change(body)
            if revised == body:
                return body
            with faults_of("s3:PutObject"):
                try:
                    self._client.put_object(Bucket=self._bucket, Key=key, Body=revised, IfMatch=tag)
                except ClientError as exc:
                    if error_code(exc) not in {"PreconditionFailed", "ConditionalRequestConflict"}:
                        raise
                else:
                    return revised
        raise WriteConflict(f"{key} is written by others again and again")

    def _read(self, key: str) -> tuple[bytes, str]:
        try:
            reply = self._client.get_object(Bucket=self._bucket, Key=key)
            return reply["Body"].read(), reply["ETag"]
        except ClientError as exc:
            if error_code(exc) in {"NoSuchKey", "404"}:
                raise VaultObjectMissing(f"s3://{self._bucket}/{key} is not there") from exc
            raise

    def list(self, prefix: str) -> Sequence[StoredObject]:
        """ListObjectsV2, all pages; S3 sorts by key."""
        found: list[StoredObject] = []
        with faults_of("s3:ListObjectsV2"):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                found += [StoredObject(entry["Key"], entry["Size"]) for entry in page.get("Contents", [])]
        return found
