"""Who may decide, and who counts as one person."""

import pytest

from stream_redrive.core.approvers import Approvers, match_one_person_only

ALICE = "arn:aws:sts::111122223333:assumed-role/operator/alice"
BOB = "arn:aws:sts::111122223333:assumed-role/operator/bob"
CAROL = "arn:aws:iam::111122223333:user/team/carol"


def test_sessions_of_a_role_are_one_person() -> None:
    approvers = Approvers(["role/oper*"])
    assert approvers.person(ALICE) == approvers.person(BOB) is not None


def test_a_pattern_with_a_session_tells_people_apart() -> None:
    approvers = Approvers(["role/operator/*"])
    assert approvers.person(ALICE) != approvers.person(BOB)
    assert None not in (approvers.person(ALICE), approvers.person(BOB))


def test_a_pattern_for_the_whole_role_outranks_those_of_its_sessions() -> None:
    approvers = Approvers(["role/operator/*", "role/operator"])
    assert approvers.person(ALICE) == approvers.person(BOB)


@pytest.mark.parametrize(
    ("patterns", "arn"),
    [
        (["role/admin"], ALICE),
        (["role/operator/bob"], ALICE),
        (["user/*"], ALICE),
        (["role/*"], CAROL),
        (["role/Operator"], ALICE),
        (["role/*", "user/*"], "arn:aws:iam::111122223333:root"),
        (["role/*", "user/*"], "arn:aws:sts::111122223333:federated-user/alice"),
        (["role/*"], "nonsense"),
    ],
)
def test_who_matches_no_pattern_is_no_approver(patterns: list[str], arn: str) -> None:
    assert Approvers(patterns).person(arn) is None


def test_a_user_is_known_by_name_whatever_the_path() -> None:
    assert Approvers(["user/carol"]).person(CAROL) == "111122223333:user/carol"


def test_without_patterns_everybody_is_somebody_and_sessions_are_not_told_apart() -> None:
    approvers = Approvers([])
    assert approvers.person(ALICE) == approvers.person(BOB) == "111122223333:role/operator"
    federated = [approvers.person(f"arn:aws:sts::111122223333:federated-user/{name}") for name in ("a", "b")]
    assert federated[0] == federated[1] is not None


@pytest.mark.parametrize("patterns", [["role/ops"], ["user/carol"], ["role/ops/alice"], ["role/ops", "role/ops/*"]])
def test_patterns_that_one_person_alone_can_match_are_known(patterns: list[str]) -> None:
    assert match_one_person_only(patterns)


@pytest.mark.parametrize("patterns", [[], ["role/*"], ["role/ops/*"], ["role/ops", "user/carol"], ["role/op[sx]"]])
def test_patterns_that_two_people_can_match_are_fine(patterns: list[str]) -> None:
    assert not match_one_person_only(patterns)
