"""A user's consumer with Powertools: the one line that differs is the class of its batch processor."""

import base64
import json
import os
from decimal import Decimal
from typing import Any

import boto3
from aws_lambda_powertools.utilities.batch import EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.kinesis_stream_event import KinesisStreamRecord
from botocore.config import Config

from stream_redrive.reporting.powertools import ReportingBatchProcessor

table = boto3.resource("dynamodb", config=Config(retries={"total_max_attempts": 1})).Table(os.environ["TABLE_NAME"])
processor = ReportingBatchProcessor(EventType.KinesisDataStreams, raise_on_entire_batch_failure=False)


def store_order(record: KinesisStreamRecord) -> None:
    order = json.loads(base64.b64decode(record.kinesis.data), parse_float=Decimal)
    table.put_item(
        Item={
            "id": order["order_id"],
            "customer": order["customer"],
            "total": order["unit_price"] * order["quantity"],
        }
    )


def handler(event: dict[str, Any], context: Any) -> Any:
    return process_partial_response(event=event, record_handler=store_order, processor=processor, context=context)
