"""Every error a caller may meet, in one tree.

* RecsysError
  + ConfigError                 a configuration file or value is wrong
    - InvalidPolicyError        the documents of a policy have faults; the one in force stays
  + DataError                   the data is wrong
    - SchemaError               rows break a table's contract
    - LeakageError              something recorded after as_of would be used
  + NotFittedError              a model was asked before it was fitted
  + BundleError
    - BundleNotFoundError       there is no bundle at that place
    - IncompatibleBundleError   written by another format version
    - CorruptBundleError        truncated, edited, or holding what a bundle never holds
  + NotFoundError
    - UnknownClientError
    - UnknownOfferError
    - UnknownPlacementError
    - UnknownKeyError
    - UnknownPolicyError
    - UnknownExperimentError
    - UnknownBundleError
    - UnknownUserError
  + InvalidRequestError         a field of a request is out of its bounds
  + InvalidEventsError          events that cannot be true; none of the batch was stored
  + ConflictError               the same key with another content
  + UnauthenticatedError        no key, or an unknown or revoked one
  + ForbiddenError              the key is known, its role may not do this
  + RateLimitedError            too many requests; come again later
  + StoreUnavailableError       the database did not answer; trying again later is safe

Errors carry fields, so that a program can act on them and a person can read them. Wrong arguments of a
function are ``ValueError`` with the value and the bound. "Nothing eligible" is a result, not an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class RecsysError(Exception):
    """Base of every error of this project; its text is one clear sentence for a person."""


class ConfigError(RecsysError):
    """A configuration file or value is wrong; the text names the place and the cure."""


class InvalidPolicyError(ConfigError):
    """The documents of a policy have faults, one in each line of the text; the policy in force stays."""

    @property
    def faults(self) -> tuple[str, ...]:
        """One sentence each: file, line, what is wrong, cure."""
        return tuple(str(self).splitlines())


class DataError(RecsysError):
    """The data cannot be used as it is."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken value of a table.

    Attributes:
        table: Name of the table.
        line: 1-based line in a CSV file (the header is line 1); row number + 1 in other sources.
        column: Name of the column, or of the columns joined by commas.
        value: What stands there, as text, cut at 80 characters.
        expected: What should stand there.
    """

    table: str
    line: int
    column: str
    value: str
    expected: str

    def __str__(self) -> str:
        return (
            f"{self.table}, line {self.line}, column {self.column}: {self.value!r} – expected {self.expected}"
        )


class SchemaError(DataError):
    """Rows break a table's contract.

    Attributes:
        faults: The first faults (at most 20 per table are kept).
        n_faults: How many there are in all.
    """

    def __init__(self, faults: Sequence[Fault], n_faults: int) -> None:
        self.faults = tuple(faults)
        self.n_faults = n_faults
        shown = "\n".join(str(fault) for fault in self.faults)
        more = n_faults - len(self.faults)
        tail = f"\n… and {more} more" if more > 0 else ""
        faults_told = "1 fault" if n_faults == 1 else f"{n_faults} faults"
        super().__init__(f"{faults_told} in the data:\n{shown}{tail}")


class LeakageError(DataError):
    """Something recorded after as_of would be used; the result would look too good."""


class NotFittedError(RecsysError):
    """A model was asked before it was fitted: call fit, or load a bundle."""


class BundleError(RecsysError):
    """A bundle cannot be used."""


class BundleNotFoundError(BundleError):
    """There is no bundle at that place."""


class IncompatibleBundleError(BundleError):
    """The bundle was written by another format version or for other features: fit again with this one."""


class CorruptBundleError(BundleError):
    """The bundle is truncated, edited, or holds what a bundle never holds."""


class NotFoundError(RecsysError):
    """A named thing does not exist.

    Attributes:
        key: The id that was asked for.
    """

    thing = "thing"

    def __init__(self, key: str, hint: str = "") -> None:
        self.key = key
        super().__init__(f"unknown {self.thing} {key!r}" + (f"; {hint}" if hint else ""))


class UnknownClientError(NotFoundError):
    """No such client."""

    thing = "client"


class UnknownOfferError(NotFoundError):
    """No such offer."""

    thing = "offer"


class UnknownPlacementError(NotFoundError):
    """No such placement."""

    thing = "placement"


class UnknownKeyError(NotFoundError):
    """No such API key."""

    thing = "key"


class UnknownPolicyError(NotFoundError):
    """No such version of the policy."""

    thing = "policy"


class UnknownExperimentError(NotFoundError):
    """No such experiment."""

    thing = "experiment"


class UnknownBundleError(NotFoundError):
    """No bundle of that version was published."""

    thing = "bundle"


class UnknownUserError(NotFoundError):
    """Nobody has that name in the console."""

    thing = "user"


class InvalidRequestError(RecsysError):
    """A field of a request is out of its bounds.

    Attributes:
        field: Path of the field, for example ``placements.0.k``.
    """

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(f"{field}: {message}")


@dataclass(frozen=True, slots=True)
class EventFault:
    """Why one event of a batch cannot be true.

    Attributes:
        index: 0-based position in the batch.
        event_id: The event's id.
        code: ``unknown_decision``, ``unknown_offer``, ``future`` …
        message: One sentence with the cure.
    """

    index: int
    event_id: str
    code: str
    message: str


class InvalidEventsError(RecsysError):
    """Events that cannot be true; none of the batch was stored.

    Attributes:
        faults: One entry for each refused event.
    """

    def __init__(self, faults: Sequence[EventFault]) -> None:
        self.faults = tuple(faults)
        first = self.faults[0]
        super().__init__(
            f"{len(self.faults)} of the events cannot be stored, so none was; "
            f"the first is number {first.index}: {first.message}"
        )


class ConflictError(RecsysError):
    """The same key was used before with another content."""


class UnauthenticatedError(RecsysError):
    """No API key, or an unknown or revoked one."""


class ForbiddenError(RecsysError):
    """The key is known, but its role may not do this."""


class RateLimitedError(RecsysError):
    """More was asked than is allowed; the same request is welcome later.

    Attributes:
        retry_after_seconds: When, ≥1.
    """

    def __init__(self, text: str, retry_after_seconds: int = 1) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class StoreUnavailableError(RecsysError):
    """The database did not answer; trying again later is safe.

    Attributes:
        is_told: Whether the log has said so already.
    """

    def __init__(self, text: str, *, is_told: bool = False) -> None:
        super().__init__(text)
        self.is_told = is_told
