"""Records that fail alike, incident after incident: one case, one workflow, and hardly a write to the case itself."""

from tests.bench.counted import equal_records


def test_thousands_of_equal_records_are_one_case_with_one_workflow() -> None:
    found = equal_records(2_400, an_incident=800)
    assert (found.cases, found.records, found.executions) == (1, 2_400, 1)
    assert found.writes == 3, "one an incident, however many records it brings"
