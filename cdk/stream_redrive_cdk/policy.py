"""Refuses a redrive policy that the functions would refuse at run time, while there is still somebody to tell."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import fastjsonschema
from aws_cdk import Token

from stream_redrive_cdk.assets import POLICY_SCHEMA

# The largest value of a parameter of the advanced tier.
# https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
MAX_POLICY_BYTES = 8192
# What the functions fall back on; a test holds that they agree.
DEFAULT_BACKOFF = {"base_seconds": 30, "max_seconds": 900}
DEFAULT_APPROVAL: Mapping[str, Sequence[str]] = {"two_person": ("edit", "discard"), "approvers": ()}
_NESTED = ("backoff", "probe", "approval")


def _refuse_reference(uri: str) -> object:
    raise fastjsonschema.JsonSchemaDefinitionException(f"$ref {uri!r} is outside the schema")


# Without these, fastjsonschema fetches what a $ref of the user's schema names.
_NO_REFERENCES = dict.fromkeys(("", "http", "https", "ftp", "file", "data"), _refuse_reference)
_TOKEN = re.compile(r"\$\{Token\[[^]]*\]\}")


class InvalidPolicyError(ValueError):
    """The redrive policy breaks its schema or is too large; the message says where and why."""


def policy_document(policy: Mapping[str, Any] | None) -> str:
    """Return the JSON text of `policy` for the parameter store; None stands for the defaults of the service.

    Raises InvalidPolicyError when the policy breaks `policy.schema.json`, when a JSON Schema in it is not one,
    or when it is larger than a parameter can be.
    """
    if policy is None:
        return '{"default":{}}'
    try:
        text = json.dumps(policy, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidPolicyError(f"policy: not JSON: {error}") from error
    size = len(text.encode())
    if size > MAX_POLICY_BYTES:
        raise InvalidPolicyError(
            f"policy: {size} bytes long, and the parameter store takes at most {MAX_POLICY_BYTES}: "
            "shorten its JSON Schemas, or protect some consumers with a second StreamRedrive"
        )
    known = _with_names_known(policy)
    _check_fields(known)
    _check_contradictions(known)
    return text


def _with_names_known(policy: Mapping[str, Any]) -> Any:
    """Return the policy with valid names where an app puts those of its own resources, unknown until deployment."""
    document = json.loads(json.dumps(policy))
    if not isinstance(document, dict):
        return document
    policies = [document.get("default")]
    if isinstance(consumers := document.get("consumers"), dict):
        document["consumers"] = {
            f"unknown-{position}" if Token.is_unresolved(name) else name: consumer
            for position, (name, consumer) in enumerate(consumers.items())
        }
        policies += consumers.values()
    for each in policies:
        if isinstance(each, dict) and isinstance(target := each.get("target"), str):
            each["target"] = _TOKEN.sub("arn:aws:kinesis:us-east-1:111122223333:stream/unknown", target)
        if isinstance(each, dict) and isinstance(approval := each.get("approval"), dict):
            approvers = approval.get("approvers")
            if isinstance(approvers, list) and all(isinstance(pattern, str) for pattern in approvers):
                # Each name of a resource of the app's own is another one.
                approval["approvers"] = [_TOKEN.sub(f"unknown-{n}", pattern) for n, pattern in enumerate(approvers)]
    return document


def _check_fields(document: Any) -> None:
    validate = fastjsonschema.compile(json.loads(POLICY_SCHEMA.read_text(encoding="utf-8")), use_default=False)
    try:
        validate(document)
    except fastjsonschema.JsonSchemaValueException as error:
        where = ".".join(["policy", *(str(part) for part in error.path[1:])])
        raise InvalidPolicyError(f"{where}: {error.message.removeprefix(str(error.name)).strip()}") from error


def _check_contradictions(document: Mapping[str, Any]) -> None:
    """Refuse what each field allows by itself and the functions refuse all the same."""
    base = document.get("default", {})
    merged = {"default": base} | {
        f"consumers.{name}": {**base, **own, **{key: {**base.get(key, {}), **own.get(key, {})} for key in _NESTED}}
        for name, own in document.get("consumers", {}).items()
    }
    for where, policy in merged.items():
        backoff = DEFAULT_BACKOFF | policy.get("backoff", {})
        if backoff["base_seconds"] > backoff["max_seconds"]:
            raise InvalidPolicyError(f"policy.{where}.backoff: base_seconds is more than max_seconds")
        if policy.get("probe", {}).get("enabled") and policy.get("ordering") == "per_key":
            raise InvalidPolicyError(
                f"policy.{where}.probe: breaks ordering 'per_key', as it gives records out of order"
            )
        approval = DEFAULT_APPROVAL | policy.get("approval", {})
        if approval["two_person"] and _match_one_person_only(approval["approvers"]):
            raise InvalidPolicyError(
                f"policy.{where}.approval.approvers: names one person only, and two_person asks for two"
            )
        ids = [rule["id"] for rule in policy.get("rules", ())]
        if repeated := sorted({rule_id for rule_id in ids if ids.count(rule_id) > 1}):
            raise InvalidPolicyError(f"policy.{where}.rules: the id {repeated[0]!r} stands more than once")
        if (schema := policy.get("schema")) is None:
            continue
        if policy.get("decoder") == "none":
            raise InvalidPolicyError(f"policy.{where}.schema: needs a decoder, and 'none' leaves nothing to check")
        try:
            fastjsonschema.compile(schema, handlers=_NO_REFERENCES, use_default=False)
        # It raises whatever the broken schema trips: a KeyError, an AttributeError, one of its own.
        except Exception as error:
            raise InvalidPolicyError(f"policy.{where}.schema: not a JSON Schema: {error}") from error


def _match_one_person_only(patterns: Sequence[str]) -> bool:
    # A pattern for a whole role outranks those of its sessions: all of them count as one person.
    left = [pattern for pattern in patterns if pattern.rpartition("/")[0] not in patterns]
    return len(left) == 1 and not re.search(r"[*?\[]", left[0])
