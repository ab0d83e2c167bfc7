"""A user's consumer: checks each order, stores the good ones, and names the bad ones to Lambda."""

import base64
import json
import os
from decimal import Decimal
from typing import Any

import boto3
from botocore.config import Config

table = boto3.resource("dynamodb", config=Config(retries={"total_max_attempts": 1})).Table(os.environ["TABLE_NAME"])


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    failures = []
    for record in event["Records"]:
        try:
            order = json.loads(base64.b64decode(record["kinesis"]["data"]), parse_float=Decimal)
            table.put_item(
                Item={
                    "id": order["order_id"],
                    "customer": order["customer"],
                    "total": order["unit_price"] * order["quantity"],
                }
            )
        except (ValueError, KeyError, TypeError):
            failures.append({"itemIdentifier": record["kinesis"]["sequenceNumber"]})
    return {"batchItemFailures": failures}
