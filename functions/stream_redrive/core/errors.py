"""Every error of the service: retryable ones are worth another run as they are, terminal ones need a person."""


class RedriveError(Exception):
    """Root of the tree. State machines name leaves only."""


class RetryableError(RedriveError):
    """The same step may succeed when it runs again."""


class ServiceBusy(RetryableError):
    """An AWS service throttled the call or answered with a server error."""


class ServiceUnreachable(RetryableError):
    """No answer came: the call may or may not have taken effect."""


class WriteConflict(RetryableError):
    """Another run of the same step is at work; what it wrote is read again by the next run."""


class TerminalError(RedriveError):
    """Running the step again, with nothing else changed, fails again."""


class MalformedNotice(TerminalError):
    """A message on the intake queue is no failure notice of a stream."""


class MalformedIncident(TerminalError):
    """A step's input doesn't describe an incident."""


class SourceNotSupported(TerminalError):
    """The notice is genuine, but this version can't read its kind of stream."""


class TargetNotSupported(TerminalError):
    """The policy names a target that this version can't redrive to."""


class PolicyInvalid(TerminalError):
    """A policy document breaks its schema or contradicts itself."""


class AccessDenied(TerminalError):
    """A permission is missing; the message names the action and the resource as AWS gave them."""


class VaultObjectMissing(TerminalError):
    """An object that an earlier step wrote is not in the vault."""


class ConsumerNotFound(TerminalError):
    """The function, version or alias that a notice names is gone."""


class IncidentGivenUp(TerminalError):
    """An incident was started again and parked again so often that once more won't help."""


class CaseUnknown(TerminalError):
    """A workflow's step was asked about a case that the ledger doesn't have."""


class CaseNotDecided(TerminalError):
    """A step that carries out a decision was asked about a case without one."""


class CaseNotRedriven(TerminalError):
    """A case's redrive is over, and not all of its records were sent."""


class CasesNotSwept(TerminalError):
    """A sweep is over, and some cases could not be looked after; the next one tries again."""


class SettingsMissing(TerminalError):
    """A function's environment lacks variables; the message names all of them."""


class StreamReadError(RedriveError):
    """What a stream's reader says of a position. The capture makes an outcome of each; in a redrive it parks."""


class IteratorExpired(StreamReadError):
    """The shard iterator is too old: open a new one after the last record read."""


class SequenceNumberRejected(StreamReadError):
    """The shard doesn't know the sequence number: trimmed, or of another shard or stream."""


class ShardNotFound(StreamReadError):
    """The stream has no such shard, or there is no such stream."""
