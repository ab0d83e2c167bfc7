"""Runs the event source mappings of a local cloud: python -m stream_redrive_cli.lab.mapping --counters PATH."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from pathlib import Path

import boto3

from stream_redrive_cli.lab.mapping.backoff import DEFAULT_BACKOFF, Backoff
from stream_redrive_cli.lab.mapping.runner import Clients, MappingRunner


def main() -> None:
    """Poll until SIGTERM or SIGINT. Endpoint, certificate, keys and region come from the AWS environment."""
    parser = argparse.ArgumentParser(prog="python -m stream_redrive_cli.lab.mapping", description=__doc__)
    parser.add_argument("--counters", type=Path, required=True, help="JSON file to keep the counters in")
    parser.add_argument(
        "--function-prefix", action="append", default=[], help="only functions of this prefix; repeatable"
    )
    parser.add_argument(
        "--retry-base",
        type=float,
        default=DEFAULT_BACKOFF.base,
        help="seconds before the first retry (default: %(default)s)",
    )
    parser.add_argument(
        "--retry-most",
        type=float,
        default=DEFAULT_BACKOFF.most,
        help="most seconds between two retries (default: %(default)s)",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(threadName)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # From a thread of its own: the handler interrupts `stop.wait`, which may hold the event's lock.
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    MappingRunner(
        Clients.of(boto3.session.Session()),
        counters_path=arguments.counters,
        function_prefixes=arguments.function_prefix,
        backoff=Backoff(arguments.retry_base, arguments.retry_most),
    ).run(stop)


if __name__ == "__main__":
    main()
