"""Sequence numbers and the merging of ranges."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_redrive.core.sequence import MAX_DIGITS, is_sequence_number, merge

RANGES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda pair: (str(pair[0]), str(sum(pair)))), max_size=25
)


@given(RANGES)
def test_merged_stretches_are_disjoint_and_ascend(ranges: list[tuple[str, str]]) -> None:
    stretches = merge(ranges)
    assert all(stretch.first <= stretch.last for stretch in stretches)
    assert all(before.last < after.first for before, after in pairwise(stretches))


@given(RANGES)
def test_merged_stretches_cover_exactly_the_numbers_of_the_ranges(ranges: list[tuple[str, str]]) -> None:
    covered = {number for start, end in ranges for number in range(int(start), int(end) + 1)}
    stretches = merge(ranges)
    assert {number for number in range(100) if any(number in stretch for stretch in stretches)} == covered


@given(RANGES)
def test_a_stretch_starts_with_a_number_of_the_input_as_aws_wrote_it(ranges: list[tuple[str, str]]) -> None:
    starts = {start for start, _ in ranges}
    assert all(stretch.start in starts and int(stretch.start) == stretch.first for stretch in merge(ranges))


def test_numbers_are_compared_as_integers_so_nine_comes_before_ten() -> None:
    (stretch,) = merge([("10", "11"), ("9", "10")])
    assert (stretch.first, stretch.last, stretch.start) == (9, 11, "9")


def test_leading_zeros_of_the_start_are_kept() -> None:
    (stretch,) = merge([("007", "009")])
    assert (stretch.first, stretch.start) == (7, "007")


def test_neighbouring_ranges_without_overlap_stay_apart() -> None:
    assert [(s.first, s.last) for s in merge([("3", "4"), ("1", "2")])] == [(1, 2), (3, 4)]


@pytest.mark.parametrize("text", ["0", "007", "4" * 56, "9" * MAX_DIGITS])
def test_decimal_text_is_a_sequence_number(text: str) -> None:
    assert is_sequence_number(text)


@pytest.mark.parametrize("value", ["", "-1", "1.0", "1e5", "12a", " 1", "\u0663", "9" * (MAX_DIGITS + 1), 5, None])
def test_anything_else_is_no_sequence_number(value: object) -> None:
    assert not is_sequence_number(value)
