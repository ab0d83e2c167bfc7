"""A user's consumer: each message has an id and a quantity; both go into DynamoDB."""

import base64
import json
import os
from typing import Any

import boto3
from botocore.config import Config

table = boto3.resource("dynamodb", config=Config(retries={"total_max_attempts": 1})).Table(os.environ["TABLE_NAME"])


def handler(event: dict[str, Any], context: object) -> None:
    with table.batch_writer(overwrite_by_pkeys=["id"]) as batch:
        for record in event["Records"]:
            message = json.loads(base64.b64decode(record["kinesis"]["data"]))
            batch.put_item({"id": message["id"], "quantity": int(message["quantity"])})
