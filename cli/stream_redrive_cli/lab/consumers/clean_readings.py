"""A user's consumer: drops unclean sensor readings, stores the clean ones, patient with a throttling table.

Raises when nothing could be stored; reports the failed ones when some could.
"""

import base64
import json
import os
import time
from decimal import Decimal
from typing import Any

import boto3
from botocore.config import Config

ATTEMPTS = 2

dynamodb = boto3.resource("dynamodb", config=Config(retries={"total_max_attempts": 1}))
table = dynamodb.Table(os.environ["TABLE_NAME"])
Throttled = dynamodb.meta.client.exceptions.ProvisionedThroughputExceededException


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    clean = [
        (record["kinesis"]["sequenceNumber"], reading)
        for record in event["Records"]
        if (reading := clean_reading(base64.b64decode(record["kinesis"]["data"]))) is not None
    ]
    failed = [number for number, reading in clean if not stored(reading)]
    if failed and len(failed) == len(clean):
        raise RuntimeError("the table took none of the readings")
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}


def clean_reading(data: bytes) -> dict[str, Any] | None:
    try:
        reading = json.loads(data, parse_float=Decimal)
    except ValueError:
        return None
    if not isinstance(reading, dict) or not isinstance(reading.get("celsius"), int | Decimal):
        return None
    return {"id": reading["sensor"], "celsius": reading["celsius"]}


def stored(reading: dict[str, Any]) -> bool:
    for attempt in range(ATTEMPTS):
        try:
            table.put_item(Item=reading)
        except Throttled:
            time.sleep(0.01 * 2**attempt)
        else:
            return True
    return False
