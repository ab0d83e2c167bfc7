"""The people of the lab: two operators, and a stranger whom nobody has granted anything."""

from __future__ import annotations

from pathlib import Path

from stream_redrive_cli.lab.aws import LabClients
from stream_redrive_cli.lab.directory import REGION

OPERATORS = ("alice", "bob")
STRANGER = "mallory"
PEOPLE = (*OPERATORS, STRANGER)


def write_profiles(clients: LabClients, path: Path) -> None:
    """Give each person an access key, and a profile of their name in an AWS config file."""
    sections = []
    for name in PEOPLE:
        key = clients.iam.create_access_key(UserName=name)["AccessKey"]
        sections.append(
            f"[profile {name}]\nregion = {REGION}\n"
            f"aws_access_key_id = {key['AccessKeyId']}\naws_secret_access_key = {key['SecretAccessKey']}\n"
        )
    path.touch(mode=0o600)
    path.write_text("\n".join(sections))
