"""The errors that are known around records: who told of them, and whom they speak against."""

from dataclasses import dataclass
from enum import StrEnum

from stream_redrive.core.fingerprint import error_fingerprint


class Bearing(StrEnum):
    """Whom an error speaks against: the record itself; the record, as a suspect of its batch; some record of its
    batch, nobody knows which; others of its batch.
    """

    OWN = "own"
    SUSPECT = "suspect"
    BATCH = "batch"
    OTHERS = "others"


@dataclass(frozen=True, slots=True)
class KnownError:
    """An error, as it concerns one record.

    source: "report", "log" or "probe". clue: how a suspect was told, for a person.
    """

    error_type: str
    message: str
    source: str
    bearing: Bearing = Bearing.OWN
    clue: str = ""

    @property
    def fingerprint(self) -> str:
        """The name of this kind of error."""
        return error_fingerprint(self.error_type, self.message)
