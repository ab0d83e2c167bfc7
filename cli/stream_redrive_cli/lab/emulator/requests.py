"""Reads from an AWS request which API operation it is, in botocore's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

# The emulator names services by signing name; botocore by service id.
BOTOCORE_SERVICES = {"states": "stepfunctions", "monitoring": "cloudwatch"}

# Method and, where it matters, the query parameter that tells the operation.
_S3_OBJECT = {
    ("GET", ""): "GetObject",
    ("PUT", ""): "PutObject",
    ("HEAD", ""): "HeadObject",
    ("DELETE", ""): "DeleteObject",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("PUT", "uploadId"): "UploadPart",
}
_S3_BUCKET = {
    ("GET", ""): "ListObjects",
    ("GET", "list-type"): "ListObjectsV2",
    ("GET", "versions"): "ListObjectVersions",
    ("POST", "delete"): "DeleteObjects",
    ("PUT", ""): "CreateBucket",
    ("HEAD", ""): "HeadBucket",
    ("DELETE", ""): "DeleteBucket",
}


def service_name(detected: str) -> str:
    return BOTOCORE_SERVICES.get(detected, detected)


def operation_name(
    service: str, method: str, path: str, headers: Mapping[str, str], query: Mapping[str, Any], body: bytes
) -> str:
    """Name of the operation, such as `GetRecords`; `<METHOD> <path>` for a REST call not known here."""
    named = (
        headers.get("x-amz-target", "").rsplit(".", 1)[-1]  # JSON protocols
        or path.partition("/operation/")[2]  # Smithy RPC v2 (CBOR)
        or _first(query.get("Action"))  # query protocols
    )
    if not named and service == "s3":
        named = _s3_operation(method, path, query)
    if not named and service == "lambda" and path.endswith("/invocations"):
        named = "Invoke"
    if not named and b"Action=" in body[:1024]:
        named = _first(parse_qs(body.decode("utf-8", "replace")).get("Action"))
    return named or f"{method} {path}"


def _s3_operation(method: str, path: str, query: Mapping[str, Any]) -> str:
    parts = path.strip("/").split("/", 1)
    if parts == [""]:
        return "ListBuckets"
    operations = _S3_OBJECT if len(parts) > 1 else _S3_BUCKET
    telling = next((name for verb, name in operations if name and verb == method and name in query), "")
    return operations.get((method, telling), "")


def _first(value: Any) -> str:
    if isinstance(value, list):
        return str(value[0]) if value else ""
    return str(value or "")
