"""What the scenarios produce: records with the fate each of them must meet. The same seed gives the same input."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from importlib.resources import files
from random import Random
from typing import Any

from stream_redrive_cli.errors import UsageError

FLIGHTS_FILE = "nyc-flights-2013-01.ndjson.gz"
HOT_SENSOR = "hot-"


class Fate(StrEnum):
    """How a record must end."""

    SINK = "sink"
    QUARANTINE = "quarantine"
    DROPPED = "dropped"  # by the consumer, on purpose
    FILTERED = "filtered"  # kept from the consumer by its mapping's filter


@dataclass(frozen=True)
class Input:
    """A record to produce: its kind (a row of the report), its bytes, and the sink item it must become."""

    kind: str
    partition_key: str
    data: bytes
    fate: Fate
    item: dict[str, Any] | None = None


Generator = Callable[[int, int], list[Input]]


def _seeded(what: str, seed: int) -> Random:
    return Random(f"{what} {seed}")  # noqa: S311 - sample data that must come out the same again


def flights(records: int, seed: int) -> list[Input]:
    """A sample of real flights in the order they took off; the cancelled ones have no air time."""
    with files("stream_redrive_cli.lab").joinpath("data", FLIGHTS_FILE).open("rb") as packed:
        lines = gzip.decompress(packed.read()).splitlines()
    if records > len(lines):
        raise UsageError(f"there are {len(lines)} flights: ask for no more than that with --records")
    chosen = sorted(_seeded("flights", seed).sample(range(len(lines)), records))
    return [_flight(lines[index]) for index in chosen]


def _flight(line: bytes) -> Input:
    flight = json.loads(line)
    partition_key = f"{flight['carrier']}{flight['flight']}"
    if flight["air_time"] is None:
        return Input("cancelled flight", partition_key, line, Fate.QUARANTINE)
    return Input(
        "flight",
        partition_key,
        line,
        Fate.SINK,
        {
            "id": f"{flight['time_hour']} {partition_key} {flight['origin']}",
            "dest": flight["dest"],
            "speed_mph": Decimal(str(round(flight["distance"] / (flight["air_time"] / 60), 1))),
        },
    )


def good_messages(records: int, seed: int) -> list[Input]:
    random = _seeded("messages", seed)
    return [_message(f"message-{index:06}", random.randint(1, 500)) for index in range(records)]


def poisoned_messages(records: int, seed: int) -> list[Input]:
    """Good messages, one of them (not the first or last, where there is a choice) a poison pill."""
    random = _seeded("poison", seed)
    messages = good_messages(records, seed)
    position = random.randrange(1, records - 1) if records > 2 else 0
    pill = {"id": f"message-{position:06}", "quantity": "a lot"}
    messages[position] = Input("poison pill", pill["id"], _json(pill), Fate.QUARANTINE)
    return messages


def _message(identifier: str, quantity: int) -> Input:
    item = {"id": identifier, "quantity": quantity}
    return Input("good message", identifier, _json(item), Fate.SINK, item)


_NOTE_SHARE = 0.4
_PILL_SHARE = 0.05


def filtered_messages(records: int, seed: int) -> list[Input]:
    """Messages of two types, in no order: tasks, some of them poison pills, and notes that no consumer is to see."""
    random = _seeded("filtered", seed)
    return [_note(index) if random.random() < _NOTE_SHARE else _task(index, random) for index in range(records)]


def _note(index: int) -> Input:
    identifier = f"note-{index:06}"
    return Input("note", identifier, _json({"type": "note", "id": identifier}), Fate.FILTERED)


def _task(index: int, random: Random) -> Input:
    identifier = f"task-{index:06}"
    item = {"id": identifier, "quantity": random.randint(1, 500)}
    if random.random() < _PILL_SHARE:
        return Input("poison pill", identifier, _json({**item, "type": "task", "quantity": "a lot"}), Fate.QUARANTINE)
    return Input("task", identifier, _json({**item, "type": "task"}), Fate.SINK, item)


BRANCHES = ("shop", "web")


def orders_of_two_branches(records: int, seed: int) -> list[Input]:
    """Orders, good and bad, with the branch that took each for a partition key."""
    random = _seeded("branches", seed)
    return [replace(order, partition_key=random.choice(BRANCHES)) for order in orders(records, seed)]


BAD_ORDERS = ("not JSON", "missing field", "wrong type", "binary")
_BAD_SHARE = 0.15


def orders(records: int, seed: int) -> list[Input]:
    """Orders, about one in seven of them bad in one of four ways; each way at least once."""
    random = _seeded("orders", seed)
    bad_count = max(len(BAD_ORDERS), round(records * _BAD_SHARE))
    if records < bad_count:
        raise UsageError(f"data-checks needs at least {bad_count} records, one of each kind of bad data")
    bad = {
        position: BAD_ORDERS[number % len(BAD_ORDERS)]
        for number, position in enumerate(random.sample(range(records), bad_count))
    }
    return [_order(index, random, bad.get(index)) for index in range(records)]


def _order(index: int, random: Random, defect: str | None) -> Input:
    order: dict[str, Any] = {
        "order_id": f"order-{index:06}",
        "customer": random.choice(["Ada", "Grace", "Łukasz", "María", "李"]),
        "quantity": random.randint(1, 9),
        "unit_price": random.randint(100, 9999) / 100,
    }
    key = f"{order['customer']}-{index % 16}"
    if defect is None:
        total = Decimal(str(order["unit_price"])) * order["quantity"]
        item = {"id": order["order_id"], "customer": order["customer"], "total": total}
        return Input("good order", key, _json(order), Fate.SINK, item)
    return Input(defect, key, _spoilt(order, random, defect), Fate.QUARANTINE)


def _spoilt(order: dict[str, Any], random: Random, defect: str) -> bytes:
    if defect == "not JSON":
        return _json(order)[: -random.randint(1, 8)]
    if defect == "missing field":
        return _json({name: value for name, value in order.items() if name != "customer"})
    if defect == "wrong type":
        return _json({**order, "quantity": None})
    return b"\xf3\x89\x9a\xc2" + random.randbytes(60)


def readings(records: int, seed: int) -> list[Input]:
    """Sensor readings: one in five unclean (the consumer drops it), one in five of a hot sensor."""
    random = _seeded("readings", seed)
    inputs = []
    for index in range(records):
        sensor = f"{HOT_SENSOR if random.random() < 0.2 else 'sensor-'}{index:06}"
        if random.random() < 0.2:
            data = random.choice([b"\x00", b"#ERR", _json({"sensor": sensor, "celsius": "NaN"})])
            inputs.append(Input("unclean reading", sensor, data, Fate.DROPPED))
            continue
        celsius = random.randint(-200, 450) / 10
        item = {"id": sensor, "celsius": Decimal(str(celsius))}
        data = _json({"sensor": sensor, "celsius": celsius})
        kind = "reading of a hot sensor" if sensor.startswith(HOT_SENSOR) else "reading"
        inputs.append(Input(kind, sensor, data, Fate.SINK, item))
    return inputs


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
