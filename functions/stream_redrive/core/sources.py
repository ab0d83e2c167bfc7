"""Where evidence comes from, besides the vault and the ledger."""

from dataclasses import dataclass

from stream_redrive.core.ports import ConsumerFunction, ConsumerLog, EventSourceMappings, TimeLimit


@dataclass(frozen=True)
class Sources:
    """What the classification can ask, and what bounds its patience with payloads."""

    log: ConsumerLog
    mappings: EventSourceMappings
    function: ConsumerFunction
    limit: TimeLimit
