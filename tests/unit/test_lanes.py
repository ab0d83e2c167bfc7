"""What shares a lane and what doesn't."""

import pytest

from stream_redrive.core.lanes import Contradiction, Lanes

A, B, C, D = (("key", name) for name in "abcd")


def test_nothing_is_known_at_first() -> None:
    assert Lanes(2).together(A, B) is None


def test_what_is_together_with_one_is_together_with_all_of_it() -> None:
    lanes = Lanes(3)
    lanes.join(A, B)
    lanes.join(C, D)
    assert lanes.together(A, C) is None
    lanes.join(B, C)
    assert lanes.together(A, D) is True


def test_what_is_apart_stays_apart_from_all_that_joins() -> None:
    lanes = Lanes(3)
    lanes.part(A, B)
    lanes.join(A, C)
    lanes.join(D, B)
    assert lanes.together(C, D) is lanes.together(D, C) is False


def test_of_two_lanes_what_is_apart_from_the_same_is_together() -> None:
    for count, expected in ((2, True), (3, None)):
        lanes = Lanes(count)
        lanes.part(A, B)
        lanes.part(A, C)
        assert lanes.together(B, C) is expected


def test_joined_pairs_of_two_lanes_join_their_others() -> None:
    lanes = Lanes(2)
    lanes.part(A, B)
    lanes.part(C, D)
    lanes.join(A, C)
    assert lanes.together(B, D) is True


def test_in_a_single_lane_everything_is_together() -> None:
    assert Lanes(1).together(A, B) is True
    with pytest.raises(Contradiction):
        Lanes(1).part(A, B)


def test_what_is_together_cant_be_apart() -> None:
    lanes = Lanes(3)
    lanes.join(A, B)
    with pytest.raises(Contradiction):
        lanes.part(B, A)


def test_what_is_apart_cant_be_joined() -> None:
    lanes = Lanes(3)
    lanes.part(A, B)
    with pytest.raises(Contradiction):
        lanes.join(B, A)
