"""What tells a failed batch's own records from the strangers in its range."""

import time
from dataclasses import replace

import pytest

from stream_redrive.core.classify import NoticeFinder
from stream_redrive.core.manifest import Outcome
from stream_redrive.core.ports import MappingSettings
from tests.support.lanes import AFTER, FILTERS, Put, Shard, mapping, unwanted, wanted

KPL = b"\xf3\x89\x9a\xc2"


def keyed(keys: str) -> list[Put]:
    """Records with a letter each for a key."""
    return [wanted(key) for key in keys]


def yes(*places: int) -> dict[int, bool | None]:
    return dict.fromkeys(places, True)


def no(*places: int) -> dict[int, bool | None]:
    return dict.fromkeys(places, False)


def perhaps(*places: int) -> dict[int, bool | None]:
    return dict.fromkeys(places)


# what is certain


def test_there_is_something_to_find_out_where_a_range_holds_strangers_or_has_lost_its_head() -> None:
    records = keyed("aaaa")
    assert not Shard(records, [[0, 1], [2, 3]]).membership(None).wanted
    assert Shard(records, [[0, 2], [3]]).membership(None).wanted
    assert Shard(records, [[0, 1], [2, 3]], trimmed=1).membership(None).wanted
    assert not Shard(records, [[0, 1], [2, 3]], trimmed=2).membership(None).wanted


def test_all_records_of_a_complete_range_were_in_the_batch() -> None:
    [batch] = Shard(keyed("abc"), [[0, 1, 2]]).answers(None)
    assert batch == yes(0, 1, 2)


def test_the_first_and_the_last_were_in_the_batch_whatever_the_mapping() -> None:
    [batch] = Shard(keyed("abcd"), [[0, 1, 3]]).answers(None)
    assert batch == {**yes(0, 3), **perhaps(1, 2)}


def test_a_batch_of_two_has_no_room_for_others() -> None:
    [batch] = Shard(keyed("abcd"), [[0, 3]]).answers(None)
    assert batch == {**yes(0, 3), **no(1, 2)}


# the filter


def test_the_batch_is_what_the_filter_lets_pass() -> None:
    [batch] = Shard([wanted(), unwanted(), wanted(), Put("k", b"no JSON"), wanted()], [[0, 2, 4]]).answers(
        mapping(FILTERS)
    )
    assert batch == {**yes(0, 2, 4), **no(1, 3)}


@pytest.mark.parametrize("middle", [[wanted(), wanted()], [unwanted(), unwanted()]])
def test_a_filter_that_lets_more_or_fewer_pass_than_the_batch_held_was_not_in_force(middle: list[Put]) -> None:
    [batch] = Shard([wanted(), *middle, wanted()], [[0, 1, 3]]).answers(mapping(FILTERS))
    assert batch == {**yes(0, 3), **perhaps(1, 2)}


def test_a_filter_that_refuses_a_record_of_the_batch_was_not_in_force() -> None:
    [batch] = Shard([wanted(), wanted(), unwanted(), unwanted()], [[0, 1, 3]]).answers(mapping(FILTERS))
    assert batch == {**yes(0, 3), **perhaps(1, 2)}


def test_a_filter_that_refuses_a_reported_record_was_not_in_force() -> None:
    shard = Shard([wanted(), wanted(), unwanted(), wanted()], [[0, 1, 3]])
    assert shard.answers(mapping(FILTERS))[0] == {**yes(0, 1, 3), **no(2)}
    assert shard.answers(mapping(FILTERS), reported={2})[0] == {**yes(0, 2, 3), **perhaps(1)}


def test_what_contradicts_one_batch_discredits_the_filter_for_all() -> None:
    shard = Shard(
        [wanted(), unwanted(), wanted(), wanted(), wanted(), unwanted(), unwanted(), wanted()], [[0, 2, 3], [4, 5, 7]]
    )
    assert shard.answers(mapping(FILTERS)) == [{**yes(0, 3), **perhaps(1, 2)}, {**yes(4, 7), **perhaps(5, 6)}]


def test_a_mapping_that_was_changed_after_the_records_came_proves_nothing() -> None:
    shard = Shard([wanted(), unwanted(), wanted(), wanted()], [[0, 2, 3]])
    assert shard.answers(replace(mapping(FILTERS), changed_at=AFTER))[0] == {**yes(0, 3), **perhaps(1, 2)}


def test_a_filter_in_a_language_that_is_not_known_proves_nothing() -> None:
    shard = Shard([wanted(), unwanted(), wanted(), wanted()], [[0, 2, 3]])
    assert shard.answers(mapping(('{"data": {"wanted": [{"newer": 1}]}}',)))[0] == {**yes(0, 3), **perhaps(1, 2)}


def test_a_record_that_may_or_may_not_pass_is_told_by_the_count() -> None:
    enough = Shard([wanted(), Put("k", KPL), wanted(), wanted()], [[0, 2, 3]])
    assert enough.answers(mapping(FILTERS))[0] == {**yes(0, 2, 3), **no(1)}
    missing = Shard([wanted(), Put("k", KPL), unwanted(), wanted()], [[0, 1, 3]])
    assert missing.answers(mapping(FILTERS))[0] == {**yes(0, 1, 3), **no(2)}
    either = Shard([wanted(), Put("k", KPL), Put("k", KPL), wanted()], [[0, 1, 3]])
    assert either.answers(mapping(FILTERS))[0] == {**yes(0, 3), **perhaps(1, 2)}


def test_a_reported_record_has_passed_the_filter() -> None:
    shard = Shard([wanted(), Put("k", KPL), Put("k", KPL), wanted()], [[0, 1, 3]])
    assert shard.answers(mapping(FILTERS), reported={1})[0] == {**yes(0, 1, 3), **no(2)}


def test_more_records_than_the_batch_held_without_lanes_or_filter_contradict_the_mapping() -> None:
    [batch] = Shard(keyed("abcd"), [[0, 1, 3]]).answers(mapping())
    assert batch == {**yes(0, 3), **perhaps(1, 2)}


# the lanes


def test_records_of_a_key_that_was_in_the_batch_were_in_it_too() -> None:
    [batch] = Shard(keyed("axabyb"), [[0, 2, 3, 5]]).answers(mapping(factor=3))
    assert batch == {**yes(0, 2, 3, 5), **no(1, 4)}


def test_what_is_left_belongs_when_the_count_needs_it() -> None:
    shard = Shard(keyed("acxbx"), [[0, 1, 3], [2, 4]])
    assert shard.answers(mapping(factor=4)) == [{**yes(0, 1, 3), **no(2)}, {**yes(2, 4), **no(3)}]


def test_a_closed_batch_closes_others() -> None:
    # The second batch can hold nothing but x, y and x: so y is a stranger to the first, which then needs c.
    shard = Shard(keyed("acxybx"), [[0, 1, 4], [2, 3, 5]])
    assert shard.answers(mapping(factor=4)) == [{**yes(0, 1, 4), **no(2, 3)}, {**yes(2, 3, 5), **no(4)}]


def test_nobody_is_a_stranger_before_the_count_is_closed() -> None:
    first, _ = Shard(keyed("acxdb" + "x"), [[0, 1, 4], [2, 5]]).answers(mapping(factor=4))
    assert first == {**yes(0, 4), **perhaps(1, 2, 3)}


def test_of_two_lanes_what_is_not_in_the_one_is_in_the_other() -> None:
    shard = Shard(keyed("axcbey"), [[0, 3], [1, 2, 5]])
    assert shard.answers(mapping(factor=3))[1] == {**yes(1, 5), **perhaps(2, 3, 4)}
    assert shard.answers(mapping(factor=2)) == [
        {**yes(0, 3), **no(1, 2)},
        {**yes(1, 2, 5), **no(3, 4)},
    ]


def test_more_batches_at_once_than_lanes_contradict_the_mapping() -> None:
    batches = [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert Shard(keyed("abcabcabc"), batches).answers(mapping(factor=3))[0] == {**yes(0, 3, 6), **no(1, 2, 4, 5)}
    assert Shard(keyed("abcabcabc"), batches).answers(mapping(factor=2))[0] == {**yes(0, 6), **perhaps(1, 2, 3, 4, 5)}


def test_more_than_three_at_once_contradict_three_lanes() -> None:
    shard = Shard(keyed("abcdabcd"), [[0, 4], [1, 5], [2, 6], [3, 7]])
    assert shard.answers(mapping(factor=4)) == shard.answers(mapping(factor=3))  # two a batch: the count is enough
    shard = Shard(keyed("abcda" + "abcd"), [[0, 4, 5], [1, 6], [2, 7], [3, 8]])
    assert shard.answers(mapping(factor=4))[0] == {**yes(0, 4, 5), **no(1, 2, 3)}
    assert shard.answers(mapping(factor=3))[0] == {**yes(0, 5), **perhaps(1, 2, 3, 4)}


def test_a_key_in_two_lanes_contradicts_the_mapping() -> None:
    first, _ = Shard(keyed("acxyba"), [[0, 1, 4], [2, 5]]).answers(mapping(factor=4))
    assert first == {**yes(0, 4), **perhaps(1, 2, 3)}


def test_records_without_a_key_tell_nothing_about_each_other() -> None:
    records = [wanted(None), wanted(None), wanted(None), wanted(None)]
    assert Shard(records, [[0, 1, 3]]).answers(mapping(factor=2))[0] == {**yes(0, 3), **perhaps(1, 2)}


def test_lanes_and_filter_are_weighed_together() -> None:
    records = [wanted("a"), unwanted("a"), wanted("x"), wanted("a"), wanted("b")]
    assert Shard(records, [[0, 3, 4]]).answers(mapping(FILTERS, 2))[0] == {**yes(0, 3, 4), **no(1, 2)}


# all of them together


@pytest.mark.parametrize("settings", [None, mapping(factor=2), mapping(factor=1)])
def test_an_outage_of_all_lanes_shows_in_the_sum_of_the_batches(settings: MappingSettings | None) -> None:
    shard = Shard(keyed("acdxyefbzg"), [[0, 1, 2, 5, 7], [3, 4, 6, 8, 9]])
    assert shard.answers(settings)[0] == {**yes(0, 7), **perhaps(1, 2, 3, 4, 5, 6)}
    assert shard.failed(settings) == yes(*range(10))


def test_with_one_stranger_the_sum_proves_nothing_for_its_stretch() -> None:
    shard = Shard(keyed("acdxyefbzg" + "acxydbez"), [[0, 1, 5, 7], [3, 4, 6, 8, 9], [10, 11, 14, 15], [12, 13, 16, 17]])
    assert shard.failed(None) == {**yes(0, 3, 7, 9), **perhaps(1, 2, 4, 5, 6, 8), **yes(*range(10, 18))}


def test_the_sum_is_of_what_the_filter_lets_pass() -> None:
    records = [*keyed("acx"), unwanted("u"), *keyed("ydbez")]
    shard = Shard(records, [[0, 1, 5, 6], [2, 4, 7, 8]])
    assert shard.failed(mapping(FILTERS, 3)) == {**yes(0, 1, 2, 4, 5, 6, 7, 8), **perhaps(3)}
    assert shard.failed(None) == {**yes(0, 2, 6, 8), **perhaps(1, 3, 4, 5, 7)}


def test_the_sum_is_of_all_records_where_the_filter_is_discredited() -> None:
    records = [*keyed("acx"), unwanted("u"), *keyed("ydbez"), wanted("a"), unwanted("u"), wanted("a")]
    shard = Shard(records, [[0, 1, 5, 6], [2, 4, 7, 8], [9, 10, 11]])
    assert shard.failed(mapping(FILTERS, 3)) == {**yes(0, 2, 6, 8), **perhaps(1, 3, 4, 5, 7), **yes(9, 10, 11)}


def test_the_sum_proves_nothing_where_a_head_is_trimmed() -> None:
    # Six records are left of what held seven, and so many may be strangers as are gone.
    shard = Shard(keyed("aacxdyebz"), [[0, 1, 2, 7], [3, 5, 8]], trimmed=2)
    assert shard.failed(mapping(factor=3)) == {**yes(3, 7, 8), **perhaps(2, 4, 5, 6)}


def test_a_record_that_was_in_none_of_the_batches_did_not_fail() -> None:
    assert Shard(keyed("axbxc"), [[0, 2], [3, 4]]).failed(mapping(factor=2)) == {**yes(0, 2, 3, 4), **no(1)}


# what the consumer reported


def test_a_reported_record_is_taken_at_its_word_and_brings_in_no_other() -> None:
    shard = Shard(keyed("acxcb"), [[0, 1, 3, 4]])
    assert shard.answers(mapping(factor=2), reported={1})[0] == {**yes(0, 1, 4), **perhaps(2, 3)}
    assert shard.answers(None, reported={1})[0] == {**yes(0, 1, 4), **perhaps(2, 3)}


def test_a_reported_stranger_stays_a_stranger() -> None:
    assert Shard(keyed("axab"), [[0, 2, 3]]).answers(mapping(factor=2), reported={1})[0][1] is False
    assert Shard(keyed("axb"), [[0, 2]]).answers(None, reported={1})[0][1] is False


# heads that are trimmed


def test_what_is_left_of_a_trimmed_batch_has_no_more_room_than_its_members_take() -> None:
    shard = Shard(keyed("ayxbxb"), [[0, 3, 5], [2, 4]], trimmed=2)
    assert shard.notices[0].outcome is Outcome.AMBIGUOUS
    assert shard.answers(mapping(factor=2))[0] == {**yes(3, 5), **no(2, 4)}


def test_of_a_trimmed_batch_nobody_belongs_for_want_of_others() -> None:
    shard = Shard(keyed("abcdb"), [[0, 1, 2, 4]], trimmed=2)
    assert shard.notices[0].outcome is Outcome.PARTIAL
    assert shard.answers(mapping(factor=2))[0] == {**yes(4), **perhaps(2, 3)}


def test_what_is_left_of_a_batch_is_all_its_own_where_there_is_one_lane_and_no_filter() -> None:
    assert Shard(keyed("abcd"), [[0, 1, 2, 3]], trimmed=2).answers(mapping())[0] == yes(2, 3)


def test_a_trimmed_range_is_taken_for_its_batch_unless_something_speaks_of_lanes_or_filters() -> None:
    records = keyed("abcdefg")
    assert Shard(records, [[0, 1, 2, 3]], trimmed=2).answers(None)[0] == yes(2, 3)
    first, _ = Shard(records, [[0, 1, 2, 3], [4, 6]], trimmed=2).answers(None)
    assert first == {**yes(3), **perhaps(2)}


# cost


def seconds_for(records: int, lanes: int = 10) -> float:
    """CPU time to weigh an outage: every batch of a hundred failed, in every lane."""
    step = 100 * lanes
    batches = [
        range(records)[start : start + step : lanes]
        for first in range(0, records, step)
        for start in range(first, first + lanes)
    ]
    shard = Shard([wanted(f"k{place % lanes}-{place % 730}") for place in range(records)], batches)
    began = time.thread_time()
    membership, finder = shard.membership(mapping(factor=lanes)), NoticeFinder(shard.notices)
    numbers = [record.stream.sequence_number for record in shard.captured]
    assert all(membership.failed(number, finder.covering(number)) for number in numbers)
    return time.thread_time() - began


def test_the_cost_grows_with_the_records_and_no_faster() -> None:
    # The least of several: a collection of the whole process's garbage may fall into any of them.
    few, many = (min(seconds_for(records) for _ in range(5)) for records in (2_000, 8_000))
    assert many < 8 * few
