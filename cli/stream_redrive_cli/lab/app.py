"""The lab's CDK app: the demo stack, and the stack that users deploy, with short settings."""

from __future__ import annotations

from aws_cdk import App, Duration, Environment, RemovalPolicy
from aws_cdk import aws_iam as iam

from stream_redrive_cdk import StreamRedriveStack
from stream_redrive_cli.lab.demo_stack import DemoStack, protection
from stream_redrive_cli.lab.deployment import DEMO_STACK, SERVICE_STACK
from stream_redrive_cli.lab.directory import ACCOUNT, REGION
from stream_redrive_cli.lab.people import OPERATORS
from stream_redrive_cli.lab.scenarios import INTAKE_WINDOW_SECONDS, POLICY, SCENARIOS


def main() -> None:
    app = App(analytics_reporting=False)
    env = Environment(account=ACCOUNT, region=REGION)
    demo = DemoStack(app, DEMO_STACK, env=env)
    service = StreamRedriveStack(
        app,
        SERVICE_STACK,
        env=env,
        protect=[protection(scenario) for scenario in SCENARIOS.values()],
        policy=POLICY,
        intake_window=Duration.seconds(INTAKE_WINDOW_SECONDS),
        settle=Duration.seconds(2),
        removal_policy=RemovalPolicy.DESTROY,
    )
    for name in OPERATORS:
        service.redrive.grant_operator(iam.User.from_user_name(service, name, name))
    service.add_stack_dependency(demo)
    app.synth()


if __name__ == "__main__":
    main()
