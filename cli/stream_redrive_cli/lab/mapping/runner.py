"""Finds the deployed mappings and keeps a poller at work for each of them."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from stream_redrive.core.event_filter import FilterPatternError
from stream_redrive_cli.lab.mapping.backoff import DEFAULT_BACKOFF, Backoff
from stream_redrive_cli.lab.mapping.destinations import Destination, QueueDestination, TopicDestination
from stream_redrive_cli.lab.mapping.invocation import FunctionInvoker
from stream_redrive_cli.lab.mapping.queue_poller import QueuePoller
from stream_redrive_cli.lab.mapping.readers import DynamoDbReader, KinesisReader, StreamReader
from stream_redrive_cli.lab.mapping.settings import (
    QueueMapping,
    StreamMapping,
    UnsupportedMappingError,
    mapping_from_reply,
)
from stream_redrive_cli.lab.mapping.stream_poller import StreamPoller

if TYPE_CHECKING:
    from boto3.session import Session
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

_log = logging.getLogger(__name__)

SCHEMA = "stream-redrive.mapping-counters/1"
_LOOK_SECONDS = 3.0
_WRITE_SECONDS = 0.5
_DISABLED = ("Disabled", "Disabling")


@dataclass(frozen=True, slots=True)
class Clients:
    """The AWS clients that all pollers share."""

    functions: LambdaClient
    kinesis: KinesisClient
    dynamodb_streams: Any  # no stubs of this client are pinned
    queues: SQSClient
    topics: SNSClient

    @classmethod
    def of(cls, session: Session) -> Clients:
        many = Config(max_pool_connections=128, connect_timeout=5, read_timeout=60)
        # A retried invocation would be one that the mapping's settings don't know of; functions run up to 900 s.
        once = many.merge(Config(read_timeout=910, retries={"total_max_attempts": 1}))
        return cls(
            functions=session.client("lambda", config=once),
            kinesis=session.client("kinesis", config=many),
            dynamodb_streams=session.client("dynamodbstreams", config=many),
            queues=session.client("sqs", config=many),
            topics=session.client("sns", config=many),
        )


class MappingRunner:
    """Polls for every *disabled* mapping: an enabled one is the cloud's own business.

    The cloud keeps the settings, this class does the work; a mapping that is changed, deleted or enabled is noticed
    within seconds, and a changed one goes on where it stood.
    """

    def __init__(
        self,
        clients: Clients,
        *,
        counters_path: Path,
        function_prefixes: Sequence[str] = (),
        backoff: Backoff = DEFAULT_BACKOFF,
        look_seconds: float = _LOOK_SECONDS,
        write_seconds: float = _WRITE_SECONDS,
    ) -> None:
        self._clients = clients
        self._counters_path = counters_path
        self._function_prefixes = tuple(function_prefixes)
        self._backoff = backoff
        self._look_seconds = look_seconds
        self._write_seconds = write_seconds
        self._pollers: dict[str, StreamPoller | QueuePoller] = {}
        self._refused: dict[str, dict[str, Any]] = {}

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; no thread is left afterwards."""
        next_look = 0.0
        try:
            while not stop.is_set():
                if time.monotonic() >= next_look:
                    self._look()
                    next_look = time.monotonic() + self._look_seconds
                self._write()
                stop.wait(self._write_seconds)
        finally:
            for poller in self._pollers.values():
                poller.stop()
            self._write()

    def snapshot(self) -> dict[str, Any]:
        """The counters as they stand, in the shape of the counters file."""
        # A mapping that was changed into something unusable goes on as it was, as on AWS, which refuses the change.
        entries = self._refused | {uuid: _status(poller) for uuid, poller in self._pollers.items()}
        for uuid, refusal in self._refused.items():
            entries[uuid]["error"] = refusal["error"]
        mappings = list(entries.values())
        return {
            "schema": SCHEMA,
            "pid": os.getpid(),
            "updated_at": time.time(),
            "ready": bool(mappings) and all(entry["ready"] for entry in mappings),
            "idle": bool(mappings) and all(entry["idle"] for entry in mappings),
            "mappings": sorted(mappings, key=lambda entry: (entry["function_arn"], entry["uuid"])),
        }

    def _look(self) -> None:
        try:
            replies = self._deployed()
        except (ClientError, BotoCoreError) as exc:
            _log.warning("can't list event source mappings: %s", exc)
            return
        refused: dict[str, dict[str, Any]] = {}
        for reply in replies:
            uuid = reply["UUID"]
            try:
                self._keep_polling(mapping_from_reply(reply))
            except (UnsupportedMappingError, FilterPatternError, ClientError, BotoCoreError) as exc:
                if uuid not in self._refused:
                    _log.error("mapping %s is not polled: %s", uuid, exc)
                refused[uuid] = _refusal(reply, exc)
        self._refused = refused
        for uuid in self._pollers.keys() - {reply["UUID"] for reply in replies}:
            self._pollers.pop(uuid).stop()

    def _deployed(self) -> list[Mapping[str, Any]]:
        pages = self._clients.functions.get_paginator("list_event_source_mappings").paginate()
        return [
            reply
            for page in pages
            for reply in page["EventSourceMappings"]
            if reply.get("State") in _DISABLED and self._is_ours(reply["FunctionArn"])
        ]

    def _is_ours(self, function_arn: str) -> bool:
        name = function_arn.rpartition(":function:")[2]
        return not self._function_prefixes or name.startswith(self._function_prefixes)

    def _keep_polling(self, mapping: StreamMapping | QueueMapping) -> None:
        old = self._pollers.get(mapping.uuid)
        if old is not None and old.mapping == mapping:
            return
        invoker = FunctionInvoker(self._clients.functions, mapping.function_arn)
        poller: StreamPoller | QueuePoller
        if isinstance(mapping, QueueMapping):
            if old is not None:
                old.stop()
            poller = QueuePoller(mapping, client=self._clients.queues, invoker=invoker)
        else:
            reader = self._reader(mapping)
            positions = None
            if isinstance(old, StreamPoller):
                old.stop()
                positions = old.positions()
            poller = StreamPoller(
                mapping,
                reader=reader,
                invoker=invoker,
                destination=self._destination(mapping.on_failure_arn),
                positions=positions,
                backoff=self._backoff,
            )
        self._pollers[mapping.uuid] = poller
        poller.start()

    def _reader(self, mapping: StreamMapping) -> StreamReader:
        if mapping.source == "dynamodb":
            return DynamoDbReader(self._clients.dynamodb_streams, mapping.source_arn)
        function = self._clients.functions.get_function_configuration(FunctionName=mapping.function_arn)
        return KinesisReader(self._clients.kinesis, mapping.source_arn, function["Role"])

    def _destination(self, arn: str | None) -> Destination | None:
        if arn is None:
            return None
        if arn.split(":")[2] == "sqs":
            return QueueDestination(self._clients.queues, arn)
        return TopicDestination(self._clients.topics, arn)

    def _write(self) -> None:
        # Renamed into place, so that a reader never sees half a file.
        draft = self._counters_path.with_name(self._counters_path.name + ".draft")
        draft.write_text(json.dumps(self.snapshot(), indent=1))
        draft.replace(self._counters_path)


def _status(poller: StreamPoller | QueuePoller) -> dict[str, Any]:
    settled_until = poller.settled_until()
    return {
        "uuid": poller.mapping.uuid,
        "kind": "stream" if isinstance(poller, StreamPoller) else "queue",
        "function_arn": poller.mapping.function_arn,
        "source_arn": poller.mapping.source_arn,
        "ready": poller.ready,
        "idle": settled_until is not None,
        "settled_until": settled_until,
        "error": None,
        "counts": poller.tally.snapshot(),
    }


def _refusal(reply: Mapping[str, Any], exc: Exception) -> dict[str, Any]:
    return {
        "uuid": reply["UUID"],
        "kind": "queue" if ":sqs:" in reply["EventSourceArn"] else "stream",
        "function_arn": reply["FunctionArn"],
        "source_arn": reply["EventSourceArn"],
        "ready": False,
        "idle": False,
        "settled_until": None,
        "error": str(exc),
        "counts": {},
    }
