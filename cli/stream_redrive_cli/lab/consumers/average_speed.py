"""A user's consumer: the average speed of each flight, into DynamoDB. It knows nothing of the service."""

import base64
import json
import os
from decimal import Decimal
from typing import Any

import boto3
from botocore.config import Config

table = boto3.resource("dynamodb", config=Config(retries={"total_max_attempts": 1})).Table(os.environ["TABLE_NAME"])


def handler(event: dict[str, Any], context: object) -> None:
    with table.batch_writer(overwrite_by_pkeys=["id"]) as batch:
        for record in event["Records"]:
            flight = json.loads(base64.b64decode(record["kinesis"]["data"]))
            hours = flight["air_time"] / 60
            batch.put_item(
                {
                    "id": f"{flight['time_hour']} {flight['carrier']}{flight['flight']} {flight['origin']}",
                    "dest": flight["dest"],
                    "speed_mph": Decimal(str(round(flight["distance"] / hours, 1))),
                }
            )
