"""What a person is refused, and why. No state machine meets these: they are answers, not failures."""


class Refusal(Exception):
    """Root: nothing was changed. The message is for the person who asked."""


class UnknownCase(Refusal):
    """There is no case of this id."""


class UnknownRecord(Refusal):
    """A record that the request names is not in the case."""


class NotSigned(Refusal):
    """The caller has no identity that AWS vouches for."""


class NotAnApprover(Refusal):
    """The policy doesn't list the caller among the approvers."""


class SelfApproval(Refusal):
    """The decision needs a second person, and this is the first one again."""


class ReasonMissing(Refusal):
    """A decision without a reason."""


class StaleDigest(Refusal):
    """What would be decided is not what the digest was made of."""


class AlreadyDecided(Refusal):
    """Somebody has decided about the case; the message says who, what and when."""


class CaseExpired(Refusal):
    """Nobody decided in time; the records are still in quarantine."""


class PlanIncomplete(Refusal):
    """It isn't certain yet which records the decision would be about."""


class NothingEligible(Refusal):
    """None of the records can be dealt with as asked."""


class MalformedRequest(Refusal):
    """The request lacks something, or has something that it may not have."""


class RequestTooLarge(Refusal):
    """The request's body is over its limit."""


class InvalidPatch(Refusal):
    """The edit is no JSON Patch (RFC 6902); the message names the operation."""


class PatchFails(Refusal):
    """The patch can't be applied to a record; the message names record, operation and path."""


class NotEditable(Refusal):
    """A record that was named for an edit has a payload that can't be edited."""


class EmptyPayload(Refusal):
    """An edit leaves nothing of a payload."""


class PayloadTooLarge(Refusal):
    """An edited payload is over what Kinesis takes."""


class SchemaStillBroken(Refusal):
    """An edited payload breaks the policy's schema; the message names path and rule, no value."""
