"""A labelled corpus of failures: what the verdicts make of each family, with the consumer's reports, with its log
alone, and with neither.

Each family is a consumer that meets records, good and bad, and perhaps an outage that ends after a while. The service
captures, classifies and redrives until nothing fails any more; then each record's end is held against its label.
"""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import resources

import pytest

from stream_redrive.core.notices import Notice
from stream_redrive.core.policy import Verdict
from stream_redrive.core.ports import LoggedError
from stream_redrive.core.records import Origin, StreamRecord
from stream_redrive.core.redrive import RedriveRecords
from stream_redrive.core.reports import FailureReport
from stream_redrive.core.sending import Sender
from tests.support.build import incident, notice_of
from tests.support.scene import STREAM_NAME, Scene

REPORTED, LOGGED, NOTHING = "the consumer's reports", "the consumer's log", "nothing"
MAX_ATTEMPTS = 3
BATCH = 100
OUTAGE_ROUNDS = 1
KILLED, UNTOLD = "out of memory", "single zero, no bisect"


class ClientError(Exception):
    """As botocore's: the code stands in the message."""


class IntegrityError(Exception):
    """As the database drivers'."""


class ReadTimeout(Exception):
    """As the HTTP libraries'."""


class ValidationError(Exception):
    """As the validation libraries'."""


class OutOfMemory(BaseException):
    """The sandbox is gone before it can report anything."""


def flights(count: int) -> Iterator[dict[str, object]]:
    """Real flights that were flown."""
    data = resources.files("stream_redrive_cli.lab.data").joinpath("nyc-flights-2013-01.ndjson.gz")
    rows = (json.loads(line) for line in gzip.decompress(data.read_bytes()).splitlines())
    flown = (row for row in rows if row["air_time"])
    return (next(flown) for _ in range(count))


def average_speed(data: bytes) -> float:
    """An ordinary consumer."""
    flight = json.loads(data)
    return float(flight["distance"]) / (float(flight["air_time"]) / 60)


def refusing(code: str, wanted: Callable[[dict[str, object]], bool]) -> Callable[[bytes], None]:
    def consume(data: bytes) -> None:
        if wanted(json.loads(data)):
            raise ClientError(f"An error occurred ({code}) when calling the PutItem operation: no")

    return consume


def raising(error: BaseException, wanted: Callable[[dict[str, object]], bool]) -> Callable[[bytes], None]:
    def consume(data: bytes) -> None:
        if wanted(json.loads(data)):
            raise error

    return consume


def always(_: dict[str, object]) -> bool:
    return True


def marked(flight: dict[str, object]) -> bool:
    return bool(flight.get("bad"))


def good(count: int) -> list[bytes]:
    return [json.dumps(flight).encode() for flight in flights(count)]


def changed(**fields: object) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({**json.loads(data), **fields}).encode()


def without(name: str) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({k: v for k, v in json.loads(data).items() if k != name}).encode()


@dataclass(frozen=True)
class Family:
    """A kind of failure. spoil: makes a bad record of a good one; None where no record is at fault.

    outage: what the consumer does while the world is broken.
    """

    name: str
    consume: Callable[[bytes], object]
    spoil: Callable[[bytes], bytes] | None = None
    outage: Callable[[bytes], object] | None = None
    bad_every: int = 20
    bisects: bool = True


FAMILIES = [
    Family("not JSON", average_speed, lambda data: b"carrier,flight\nUA,1545"),
    Family("truncated JSON", average_speed, lambda data: data[: len(data) // 2]),
    Family("wrong encoding", average_speed, lambda data: b'{"carrier": "\xe9\xff"}'),
    Family("schema drift", average_speed, changed(air_time={"minutes": 227})),
    Family("missing field", average_speed, without("air_time")),
    Family("logic error", average_speed, changed(air_time=0)),
    Family("binary", average_speed, lambda data: bytes(range(128, 256))),
    Family("invalid", raising(ValidationError("1 validation error for Flight"), marked), changed(bad=True)),
    Family("duplicate key", raising(IntegrityError("UNIQUE constraint failed: flights.id"), marked), changed(bad=True)),
    Family("oversized", refusing("ValidationException", marked), changed(bad=True)),
    Family(KILLED, raising(OutOfMemory(), marked), changed(bad=True)),
    Family("single odd shape, no bisect", average_speed, changed(air_time=None), bad_every=100, bisects=False),
    Family("single lost key, no bisect", average_speed, without("air_time"), bad_every=100, bisects=False),
    Family("single bad value, no bisect", average_speed, changed(air_time="a lot"), bad_every=100, bisects=False),
    Family(UNTOLD, average_speed, changed(air_time=0), bad_every=100, bisects=False),
    Family("throttled", average_speed, outage=refusing("ProvisionedThroughputExceededException", always)),
    Family("timed out", average_speed, outage=raising(ReadTimeout("Read timed out. (read timeout=5)"), always)),
    Family("refused", average_speed, outage=raising(ConnectionRefusedError(111, "Connection refused"), always)),
    Family("credentials expired", average_speed, outage=refusing("ExpiredTokenException", always)),
    Family("broken deployment", average_speed, outage=raising(TypeError("f() takes 1 positional argument"), always)),
]


@dataclass
class Outcome:
    """What became of a family's records, by (label, end).

    redrives: of records that are at fault; most_redrives: of any one of them.
    """

    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    redrives: int = 0
    most_redrives: int = 0
    reasons: set[str] = field(default_factory=set)


def run(family: Family, known: str) -> Outcome:
    scene = Scene(max_attempts=MAX_ATTEMPTS)
    payloads = good(BATCH * 2)
    bad = set(range(7, len(payloads), family.bad_every)) if family.spoil else set()
    for number, payload in enumerate(payloads):
        spoilt = family.spoil(payload) if family.spoil and number in bad else payload
        scene.stream.produce(f"tail-{number % 50}", spoilt)
    [held] = scene.stream.records.values()
    label = {r.sequence_number: "poison" if n in bad else "transient" for n, r in enumerate(held)}
    processed: set[str] = set()
    outcome = Outcome()
    redriven: Counter[str] = Counter()
    position = 0
    for round_number in range(MAX_ATTEMPTS + 2):
        waiting = held[position:]
        position = len(held)
        broken = family.outage if round_number < OUTAGE_ROUNDS else None
        batches = [waiting[start : start + BATCH] for start in range(0, len(waiting), BATCH)]
        failed = [notice for batch in batches for notice in deliver(scene, family, batch, broken, processed, known)]
        if not failed:
            break
        work = incident(*failed)
        scene.capture(work)
        scene.classify(work)
        for record, verdict in zip(scene.records(work), scene.verdicts(work), strict=True):
            origin = record.lineage.origin.sequence_number
            if verdict.verdict is Verdict.TRANSIENT:
                outcome.redrives += label[origin] == "poison"
                redriven[origin] += 1
            else:
                outcome.ends[label[origin], "quarantined"] += 1
                outcome.reasons.add(verdict.reason)
        send = Sender(scene.ledger, scene.stream, scene.stream, scene.clock, 1)
        redrive = RedriveRecords(scene.vault, send)
        redrive(work, "stream")
    outcome.ends.update((label[number], "processed") for number in processed)
    outcome.most_redrives = max((redriven[n] for n, named in label.items() if named == "poison"), default=0)
    return outcome


def deliver(
    scene: Scene,
    family: Family,
    batch: list[StreamRecord],
    broken: Callable[[bytes], object] | None,
    processed: set[str],
    known: str,
) -> Iterator[Notice]:
    """Invoke the consumer as the event source mapping does; yields the notices of the batches that it gives up.

    The consumer goes through its whole batch and tells which records failed, as a partial batch response does. It
    logs each exception, and where its sandbox is killed, Lambda does.
    """
    request_id = f"request-{len(scene.log.errors)}"
    logged: list[LoggedError] = []
    failures: list[StreamRecord] = []
    for record in batch:
        try:
            (broken or family.consume)(record.data)
        except OutOfMemory:
            logged.append(LoggedError("Runtime.OutOfMemory", "Memory Size: 128 MB Max Memory Used: 128 MB", "REPORT"))
            failures = batch
            break
        except Exception as exc:  # noqa: BLE001 - a consumer of any kind
            logged.append(LoggedError(type(exc).__name__, str(exc), f"[ERROR] {type(exc).__name__}: {exc}"))
            failures.append(record)
            if known == REPORTED:
                report(scene, record, exc)
        else:
            processed.add(origin_of(scene, record))
    if not failures:
        return
    scene.log.errors[request_id] = logged if known == LOGGED else []
    rest = batch[batch.index(failures[0]) :]
    if len(rest) == 1 or not family.bisects:
        yield notice_of(rest, request_id=request_id)
        return
    middle = (len(rest) + 1) // 2
    for half in (rest[:middle], rest[middle:]):
        if half:
            yield from deliver(scene, family, half, broken, processed, known)


def report(scene: Scene, record: StreamRecord, error: Exception) -> None:
    made = FailureReport.of(error, at="2026-01-05T12:00:00.000Z")
    held = scene.ledger.reports.setdefault(("orders", STREAM_NAME, record.shard_id), {})
    held[int(record.sequence_number)] = made


def origin_of(scene: Scene, record: StreamRecord) -> str:
    place = Origin(record.shard_id, record.sequence_number)
    lineage = scene.ledger.lineage_of(STREAM_NAME, [place]).get(place)
    return lineage.origin.sequence_number if lineage else record.sequence_number


@pytest.fixture(scope="module", params=[REPORTED, LOGGED, NOTHING])
def corpus(request: pytest.FixtureRequest) -> tuple[str, dict[str, Outcome]]:
    """All families, with one kind of evidence each."""
    known: str = request.param
    return known, {family.name: run(family, known) for family in FAMILIES}


def test_the_confusion_matrix_is_shown(corpus: tuple[str, dict[str, Outcome]], show: Callable[[str], None]) -> None:
    known, outcomes = corpus
    rows = [f"{'family':<29}{'label':<12}{'processed':>10}{'quarantined':>12}   redrives of poison"]
    for name, outcome in outcomes.items():
        for label in sorted({label for label, _ in outcome.ends}):
            ends = [outcome.ends[label, end] for end in ("processed", "quarantined")]
            redrives = f"{outcome.redrives:>12}" if label == "poison" else ""
            rows.append(f"{name:<29}{label:<12}{ends[0]:>10}{ends[1]:>12}{redrives}")
    assert {row[:29].strip() for row in rows[1:]} == {family.name for family in FAMILIES}
    show(f"evidence: {known}\n" + "\n".join(rows))


def test_every_record_at_fault_ends_in_quarantine(corpus: tuple[str, dict[str, Outcome]]) -> None:
    for name, outcome in corpus[1].items():
        assert outcome.ends["poison", "processed"] == 0, name
        expected = 0 if family_of(name).spoil is None else len(range(7, BATCH * 2, family_of(name).bad_every))
        assert outcome.ends["poison", "quarantined"] == expected, name


def test_every_good_record_is_processed(corpus: tuple[str, dict[str, Outcome]]) -> None:
    for name, outcome in corpus[1].items():
        family = family_of(name)
        bad = 0 if family.spoil is None else len(range(7, BATCH * 2, family.bad_every))
        assert outcome.ends["transient", "processed"] == BATCH * 2 - bad, name


def test_no_good_record_stays_in_quarantine(corpus: tuple[str, dict[str, Outcome]]) -> None:
    known, outcomes = corpus
    for name, outcome in outcomes.items():
        if (known == NOTHING and not family_of(name).bisects) or (known == LOGGED and name == UNTOLD):
            # One of a hundred is at fault, always in the same batch, and nothing tells which.
            told = "perhaps not this one" if known == NOTHING else "nothing tells which"
            assert outcome.reasons
            assert all(told in reason for reason in outcome.reasons)
        else:
            assert outcome.ends["transient", "quarantined"] == 0, name


def test_a_reported_poison_record_is_never_redriven(corpus: tuple[str, dict[str, Outcome]]) -> None:
    known, outcomes = corpus
    for name, outcome in outcomes.items():
        if known == REPORTED and name != KILLED:
            assert outcome.redrives == 0, name


def test_a_poison_record_that_the_log_tells_of_is_redriven_once_at_most(
    corpus: tuple[str, dict[str, Outcome]],
) -> None:
    known, outcomes = corpus
    for name, outcome in outcomes.items():
        if known == LOGGED:
            # A killed sandbox, and a batch of which nothing tells who has failed it, get a second look.
            assert outcome.most_redrives == (name in {KILLED, UNTOLD}), name


def test_without_evidence_the_cap_holds_and_the_reason_says_so(corpus: tuple[str, dict[str, Outcome]]) -> None:
    known, outcomes = corpus
    for name, outcome in outcomes.items():
        bad = outcome.ends["poison", "quarantined"]
        assert outcome.redrives <= bad * MAX_ATTEMPTS, name
        if known == NOTHING and bad:
            assert outcome.redrives == bad * MAX_ATTEMPTS, name
            assert all("failed again after 3 redrives" in reason for reason in outcome.reasons), name


def family_of(name: str) -> Family:
    return next(family for family in FAMILIES if family.name == name)
