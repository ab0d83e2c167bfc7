"""The lab's consumers are protected as their scenarios say."""

import json

import pytest

from stream_redrive.core.policy import parse_policy
from stream_redrive_cli.lab.demo_stack import protection
from stream_redrive_cli.lab.scenarios import POLICY, SCENARIOS, Scenario


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_a_consumer_may_be_probed_where_its_policy_probes_it(scenario: Scenario) -> None:
    protected = protection(scenario)
    policy = parse_policy(json.dumps(POLICY), "lab").policy_for(protected.consumer_arn)
    assert protected.allow_probe == policy.probe.enabled == (scenario.name == "poison-pill-probed")
