"""Contact policy: an offer that was put aside rests for a while."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.engagement import Verdicts
from recsys.decision.refusals import Rule
from recsys.domain import ClientState, DismissalReason

_RULES = {
    DismissalReason.NOT_NOW: Rule.DISMISSED_NOT_NOW,
    DismissalReason.IRRELEVANT: Rule.DISMISSED_IRRELEVANT,
    DismissalReason.HAVE_ELSEWHERE: Rule.DISMISSED_HAVE_ELSEWHERE,
    DismissalReason.TOO_EXPENSIVE: Rule.DISMISSED_TOO_EXPENSIVE,
}


@dataclass(frozen=True, slots=True)
class CoolDowns:
    """How many days an offer rests after a dismissal, by its reason; 0 = not at all."""

    not_now: int = 30
    irrelevant: int = 180
    have_elsewhere: int = 365
    too_expensive: int = 90

    def days(self, reason: DismissalReason) -> int:
        """The days for that reason."""
        match reason:
            case DismissalReason.NOT_NOW:
                return self.not_now
            case DismissalReason.IRRELEVANT:
                return self.irrelevant
            case DismissalReason.HAVE_ELSEWHERE:
                return self.have_elsewhere
            case DismissalReason.TOO_EXPENSIVE:
                return self.too_expensive


def let_rest(
    verdicts: Verdicts, catalogue: CompiledCatalogue, state: ClientState, now: datetime, rests: CoolDowns
) -> None:
    """Refuse offers whose dismissal is younger than the cool-down of its reason.

    Args:
        verdicts: Changed in place: a candidate may become refused, never the other way round.
        catalogue: The compiled catalogue.
        state: The client's state with the latest dismissal of each offer.
        now: The moment of the decision, aware; at dismissed_at + days the offer is back.
        rests: The cool-downs.
    """
    for dismissal in state.dismissals:
        position = catalogue.positions.get(dismissal.offer_id)
        if position is None:
            continue
        if now < dismissal.dismissed_at + timedelta(days=rests.days(dismissal.reason)):
            verdicts.refuse(position, _RULES[dismissal.reason])
