"""What breaks while a scenario plays."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from stream_redrive_cli.lab.emulator.faults import Fault
from stream_redrive_cli.lab.inputs import Fate, Input
from stream_redrive_cli.lab.scenarios import SCENARIOS


class RecordingStage:
    """A stage that notes what is played on it."""

    def __init__(self) -> None:
        self.played: list[str] = []
        self.inputs: list[Input] = []

    def produce(self, inputs: Sequence[Input]) -> None:
        self.inputs += inputs
        self.played.append("produce")

    @contextmanager
    def fault(self, name: str, fault: Fault) -> Iterator[Fault]:
        self.played.append(name)
        yield fault
        self.played.append("mended")

    def wait(self, seconds: float) -> None:
        self.played.append("wait")

    def wait_for_given_up(self, records: int, at_most: float) -> None:
        self.played.append(f"{records} given up")


def test_the_probed_consumer_has_failed_on_every_record_when_its_sink_comes_back() -> None:
    scenario, stage = SCENARIOS["poison-pill-probed"], RecordingStage()
    scenario.play(scenario, stage, scenario.generate(scenario.records, 1))
    assert stage.played == ["the sink is down", "produce", "8 given up", "mended"]
    fates = [record.fate for record in stage.inputs]
    assert (fates.count(Fate.QUARANTINE), fates.count(Fate.SINK)) == (1, 7)
    assert scenario.healed_share is not None
    assert scenario.healed_share * len(fates) <= 7
