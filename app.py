"""Deploys the service in front of existing pairs: `cdk deploy -c stream_arn=… -c consumer_arn=…`."""

import json
import sys
from pathlib import Path
from typing import Any

import aws_cdk as cdk

from stream_redrive_cdk import Protection, StreamRedriveStack

_PAIR = ("consumer_arn", "stream_arn", "consumer_role_arn", "stream_key_arn")
_LIST_WANTED = 'is a JSON list: [{"stream_arn": "arn:aws:…", "consumer_arn": "arn:aws:…", "batch_size": 100}]'


def protections(app: cdk.App) -> list[Protection]:
    """Read one pair from context keys of its own, or any number from the JSON list `protect`."""
    pair = {name: value for name in _PAIR if (value := app.node.try_get_context(name))}
    listed = app.node.try_get_context("protect")
    if pair and listed:
        raise ValueError("pass either -c protect=… or one pair (-c stream_arn=… -c consumer_arn=…), not both")
    if pair:
        if missing := [name for name in ("stream_arn", "consumer_arn") if name not in pair]:
            raise ValueError(f"a consumer and its stream go together: pass -c {missing[0]}=arn:aws:… as well")
        return [Protection.from_json(pair)]
    if isinstance(listed, str):
        try:
            listed = json.loads(listed)
        except json.JSONDecodeError as error:
            raise ValueError(f"-c protect=… {_LIST_WANTED}; it can't be read as JSON: {error}") from error
    if not isinstance(listed or [], list):
        raise ValueError(f"-c protect=… {_LIST_WANTED}")
    return [Protection.from_json(document) for document in listed or []]


def policy(app: cdk.App) -> dict[str, Any] | None:
    """Read the redrive policy from the JSON file that the context names."""
    path = app.node.try_get_context("policy")
    if not path:
        return None
    try:
        document: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"-c policy={path} can't be read as JSON: {error}") from error
    return document


def build(app: cdk.App) -> StreamRedriveStack:
    """Make the stack from the app's context; raises ValueError that says what to pass."""
    return StreamRedriveStack(
        app,
        app.node.try_get_context("stack_name") or "StreamRedrive",
        protect=protections(app),
        policy=policy(app),
        alarm_topic_arn=app.node.try_get_context("alarm_topic_arn"),
    )


if __name__ == "__main__":
    _app = cdk.App()
    try:
        build(_app)
    except ValueError as error:
        sys.exit(f"stream-redrive: {error}")
    _app.synth()
